/** Bounded loops: `for (let i = 0; i < N; i++)` and `for … of` over views. */
import ts from "typescript6";
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

function isAssigned(node: ts.Node, name: string): boolean {
  const isTarget =
    (ts.isBinaryExpression(node) &&
      node.operatorToken.kind >= ts.SyntaxKind.FirstAssignment &&
      node.operatorToken.kind <= ts.SyntaxKind.LastAssignment &&
      node.left.getText() === name) ||
    ((ts.isPrefixUnaryExpression(node) || ts.isPostfixUnaryExpression(node)) &&
      (node.operator === ts.SyntaxKind.PlusPlusToken || node.operator === ts.SyntaxKind.MinusMinusToken) &&
      node.operand.getText() === name);
  return isTarget || (ts.forEachChild(node, (child) => isAssigned(child, name) || undefined) ?? false);
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
  iterated.view.iterate(
    lowering,
    (item, next) => {
      bindPattern(lowering, initializer.declarations[0].name, item);
      lowering.loops.push({ breakTo: exit, continueTo: next });
      lowerStatement(lowering, node.statement);
      lowering.loops.pop();
    },
    exit,
  );
  lowering.iterating = isInner;
  lowering.enter(exit);
  const { view } = iterated;
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
