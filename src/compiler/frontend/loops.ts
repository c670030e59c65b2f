/** Bounded loops: `for (let i = 0; i < N; i++)` and `for … of` over views. */
import ts from "#typescript";
import { lowerExpression } from "./expressions.ts";
import type { Lowering } from "./lowering.ts";
import { bindPattern, lowerStatement } from "./statements.ts";
import { describeValue } from "./values.ts";

const maximumTrips = 1024n;

export function lowerFor(lowering: Lowering, node: ts.ForStatement): void {
  const { builder } = lowering;
  const { name, from, to } = bounds(lowering, node);
  const variable = lowering.variable(name.text, "u32");
  lowering.bindings.set(lowering.symbol(name)!, { kind: "variable", variable, type: "u32" });
  builder.write(variable, builder.const(from));
  const [head, body, step, exit] = [builder.block(), builder.block(), builder.block(), builder.block()];
  builder.jump(head);
  builder.enter(head);
  builder.branch("ult", builder.read(variable), builder.const(to), body, exit);
  lowering.enter(body);
  lowering.loops.push({ breakTo: exit, continueTo: step });
  lowerStatement(lowering, node.statement);
  lowering.loops.pop();
  builder.jump(step);
  if (lowering.enter(step)) {
    builder.write(variable, builder.binary("add", builder.read(variable), builder.const(1)));
    builder.jump(head);
  }
  builder.seal(head);
  lowering.enter(exit);
}

/** Checks the one form of loop whose end is plain to see. */
function bounds(lowering: Lowering, node: ts.ForStatement): { name: ts.Identifier; from: bigint; to: bigint } {
  const { initializer, condition, incrementor, statement } = node;
  const declaration =
    initializer && ts.isVariableDeclarationList(initializer) && initializer.declarations.length === 1
      ? initializer.declarations[0]
      : undefined;
  const name = declaration?.name;
  const isVar = declaration && (declaration.parent.flags & ts.NodeFlags.Let) === 0;
  if (
    isVar ||
    !declaration?.initializer ||
    !name ||
    !ts.isIdentifier(name) ||
    !condition ||
    !ts.isBinaryExpression(condition)
  )
    return lowering.fail("unboundedLoop", node);
  const inclusive = condition.operatorToken.kind === ts.SyntaxKind.LessThanEqualsToken;
  const isUpper = inclusive || condition.operatorToken.kind === ts.SyntaxKind.LessThanToken;
  const isStep =
    incrementor &&
    (ts.isPostfixUnaryExpression(incrementor) || ts.isPrefixUnaryExpression(incrementor)) &&
    incrementor.operator === ts.SyntaxKind.PlusPlusToken &&
    incrementor.operand.getText() === name.text;
  if (!isUpper || !isStep || condition.left.getText() !== name.text || isAssigned(statement, name.text))
    return lowering.fail("unboundedLoop", node);
  const from = lowerExpression(lowering, declaration.initializer);
  const to = lowerExpression(lowering, condition.right);
  if (from.kind !== "literal" || to.kind !== "literal") return lowering.fail("unboundedLoop", node);
  const end = to.value + (inclusive ? 1n : 0n);
  if (from.value < 0n || end > 0xffff_ffffn || end - from.value > maximumTrips)
    return lowering.fail("unboundedLoop", node);
  return { name, from: from.value, to: end };
}

/** The assignment to the variable that a node is, if it is one. */
function assignmentTo(name: string, node: ts.Node): ts.BinaryExpression | ts.UnaryExpression | undefined {
  const isAssignment =
    ts.isBinaryExpression(node) &&
    node.operatorToken.kind >= ts.SyntaxKind.FirstAssignment &&
    node.operatorToken.kind <= ts.SyntaxKind.LastAssignment;
  if (isAssignment) return node.left.getText() === name ? node : undefined;
  const isStep =
    (ts.isPrefixUnaryExpression(node) || ts.isPostfixUnaryExpression(node)) &&
    (node.operator === ts.SyntaxKind.PlusPlusToken || node.operator === ts.SyntaxKind.MinusMinusToken);
  return isStep && node.operand.getText() === name ? node : undefined;
}

/** Whether `test` holds for a node or anything in it. */
function some(node: ts.Node, test: (node: ts.Node) => boolean): boolean {
  return test(node) || (ts.forEachChild(node, (child) => some(child, test) || undefined) ?? false);
}

function isAssigned(node: ts.Node, name: string): boolean {
  return some(node, (one) => assignmentTo(name, one) !== undefined);
}

/** Whether it is assigned something that may be a constant: only what is read from somewhere, and nothing else, is none. */
function isAssignedConstant(node: ts.Node, name: string): boolean {
  return some(node, (one) => {
    const assignment = assignmentTo(name, one);
    if (!assignment) return false;
    if (!ts.isBinaryExpression(assignment)) return true;
    return some(assignment.right, isConstant) || !some(assignment.right, isRead);
  });
}

function isRead(node: ts.Node): boolean {
  return ts.isPropertyAccessExpression(node) || ts.isCallExpression(node);
}

function isConstant({ kind }: ts.Node): boolean {
  return (
    kind === ts.SyntaxKind.NumericLiteral || kind === ts.SyntaxKind.TrueKeyword || kind === ts.SyntaxKind.FalseKeyword
  );
}

export function lowerForOf(lowering: Lowering, node: ts.ForOfStatement): void {
  const { builder } = lowering;
  const iterated = lowerExpression(lowering, node.expression);
  const { initializer } = node;
  if (!ts.isVariableDeclarationList(initializer))
    return lowering.fail("notInSubset", initializer, "A loop variable from outside of the loop");
  if (iterated.kind !== "view" || !iterated.view.iterate)
    return lowering.fail("notInSubset", node.expression, `Looping over ${describeValue(iterated)}`);
  if (node.awaitModifier) return lowering.fail("notInSubset", node.awaitModifier, "await");
  const isInner = lowering.iterating;
  if (isInner && !iterated.view.nests) return lowering.fail("nestedOptions", node);
  lowering.iterating = true;
  const exit = builder.block();
  const { view } = iterated;
  const outer = [...lowering.bindings].flatMap(([{ name }, binding]) =>
    binding.kind === "variable" && view.blurStep && isAssignedConstant(node.statement, name) ? [binding.variable] : [],
  );
  view.iterate!(
    lowering,
    (item, next) => {
      bindPattern(lowering, initializer.declarations[0].name, item);
      lowering.loops.push({ breakTo: exit, continueTo: next });
      lowerStatement(lowering, node.statement);
      lowering.loops.pop();
    },
    exit,
    () => {
      for (const variable of outer) builder.write(variable, view.blurStep!(lowering, builder.read(variable)));
    },
  );
  lowering.iterating = isInner;
  lowering.enter(exit);
  // What the loop assigned is a different constant on each way through it, and the verifier follows every way on its own.
  for (const [symbol, binding] of lowering.bindings) {
    if (binding.kind !== "variable" || !view.blur || !isAssigned(node.statement, symbol.name)) continue;
    builder.write(binding.variable, view.blur(lowering, builder.read(binding.variable)));
  }
  for (const variable of lowering.effects?.notes ?? []) {
    const value = builder.read(variable);
    if (view.blur && value.op.op === "parameter") builder.write(variable, view.blur(lowering, value));
  }
}
