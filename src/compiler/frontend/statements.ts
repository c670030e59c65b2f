/** Statements: a table of handlers by syntax kind. */
import ts from "#typescript";
import { integerSizes, type IntegerName } from "../../policy/types.ts";
import { lowerCondition } from "./conditions.ts";
import { calculate, compoundOperators, foreign as foreignExpressions, lowerExpression, member } from "./expressions.ts";
import { lowerFor, lowerForOf } from "./loops.ts";
import { literalType, type Lowering } from "./lowering.ts";
import { lowerSwitch } from "./switch.ts";
import { describeValue, type LanguageValue } from "./values.ts";

type Handler = (lowering: Lowering, node: never) => void;

const handlers: { readonly [K in ts.SyntaxKind]?: Handler } = {
  [ts.SyntaxKind.Block]: (lowering: Lowering, node: ts.Block) => lowerBody(lowering, node),
  [ts.SyntaxKind.EmptyStatement]: () => {},
  [ts.SyntaxKind.VariableStatement]: (lowering: Lowering, { declarationList }: ts.VariableStatement) => {
    const blockScoped = (declarationList.flags & (ts.NodeFlags.Const | ts.NodeFlags.Let)) !== 0;
    if (!blockScoped || (declarationList.flags & ts.NodeFlags.Using) !== 0)
      lowering.fail("notInSubset", declarationList, declarationList.getText().split(/\s/)[0]);
    for (const declaration of declarationList.declarations) lowerDeclaration(lowering, declaration);
  },
  [ts.SyntaxKind.TypeAliasDeclaration]: () => {},
  [ts.SyntaxKind.InterfaceDeclaration]: () => {},
  [ts.SyntaxKind.ExpressionStatement]: (lowering: Lowering, node: ts.ExpressionStatement) =>
    lowerEffect(lowering, node.expression),
  [ts.SyntaxKind.IfStatement]: lowerIf,
  [ts.SyntaxKind.ReturnStatement]: lowerReturn,
  [ts.SyntaxKind.ForStatement]: lowerFor,
  [ts.SyntaxKind.ForOfStatement]: lowerForOf,
  [ts.SyntaxKind.SwitchStatement]: lowerSwitch,
  [ts.SyntaxKind.BreakStatement]: (lowering: Lowering, node: ts.BreakStatement) => {
    if (node.label) lowering.fail("notInSubset", node, "A label");
    lowering.builder.jump(lowering.loops.at(-1)!.breakTo);
  },
  [ts.SyntaxKind.ContinueStatement]: (lowering: Lowering, node: ts.ContinueStatement) => {
    if (node.label) lowering.fail("notInSubset", node, "A label");
    lowering.builder.jump(lowering.loops.findLast((loop) => loop.continueTo)!.continueTo!);
  },
  [ts.SyntaxKind.WhileStatement]: (lowering: Lowering, node: ts.Node) => lowering.fail("unboundedLoop", node),
  [ts.SyntaxKind.DoStatement]: (lowering: Lowering, node: ts.Node) => lowering.fail("unboundedLoop", node),
  [ts.SyntaxKind.ThrowStatement]: (lowering: Lowering, node: ts.Node) => lowering.fail("exception", node),
  [ts.SyntaxKind.TryStatement]: (lowering: Lowering, node: ts.Node) => lowering.fail("exception", node),
  [ts.SyntaxKind.FunctionDeclaration]: (lowering: Lowering, node: ts.Node) => lowering.fail("closure", node),
};

const foreign: { readonly [K in ts.SyntaxKind]?: string } = {
  [ts.SyntaxKind.ForInStatement]: "for … in",
  [ts.SyntaxKind.ClassDeclaration]: "A class",
  [ts.SyntaxKind.LabeledStatement]: "A label",
  [ts.SyntaxKind.WithStatement]: "with",
};

export function lowerStatement(lowering: Lowering, node: ts.Statement): void {
  const handler = handlers[node.kind];
  if (!handler) return lowering.fail("notInSubset", node, foreign[node.kind] ?? node.getText().split("\n")[0]);
  lowering.at(node);
  handler(lowering, node as never);
}

export function lowerBody(lowering: Lowering, block: ts.Block): void {
  for (const statement of block.statements) {
    if (!lowering.builder.reachable) return;
    lowerStatement(lowering, statement);
  }
}

// Names

function lowerDeclaration(lowering: Lowering, declaration: ts.VariableDeclaration): void {
  const isConst = (declaration.parent.flags & ts.NodeFlags.Const) !== 0;
  const declared = declaration.type?.getText();
  const type =
    declared === "boolean" || (declared && declared in integerSizes)
      ? (declared as IntegerName | "boolean")
      : undefined;
  const value: LanguageValue = declaration.initializer
    ? lowerExpression(lowering, declaration.initializer)
    : type === "boolean"
      ? { kind: "static", value: false }
      : { kind: "literal", value: 0n };
  if (!ts.isIdentifier(declaration.name)) return bindPattern(lowering, declaration.name, value);
  if (isConst) {
    const typed: LanguageValue =
      type && type !== "boolean" ? lowering.integer(type, lowering.coerce(value, type, declaration)) : value;
    lowering.bindings.set(lowering.symbol(declaration.name)!, { kind: "value", value: typed });
    return;
  }
  const chosen = type ?? variableType(lowering, value, declaration);
  const variable = lowering.variable(declaration.name.text, chosen);
  lowering.builder.write(variable, lowering.asType(value, chosen, declaration));
  lowering.bindings.set(lowering.symbol(declaration.name)!, { kind: "variable", variable, type: chosen });
}

function variableType(lowering: Lowering, value: LanguageValue, node: ts.Node): IntegerName | "boolean" {
  if (value.kind === "integer") return value.type;
  if (value.kind === "literal") return literalType(value.value);
  if (value.kind === "boolean" || value.kind === "static") return "boolean";
  return lowering.fail("notInteger", node, describeValue(value));
}

/** Binds a name, or the names of `{ a, b: c }`, to a value. */
export function bindPattern(lowering: Lowering, name: ts.BindingName, value: LanguageValue): void {
  if (ts.isIdentifier(name)) {
    lowering.bindings.set(lowering.symbol(name)!, { kind: "value", value });
    return;
  }
  if (ts.isArrayBindingPattern(name)) return lowering.fail("notInSubset", name, "Destructuring an array");
  for (const element of name.elements) {
    if (element.dotDotDotToken || element.initializer)
      lowering.fail("notInSubset", element, "This kind of destructuring");
    const property = (element.propertyName ?? element.name).getText();
    lowering.at(element);
    bindPattern(lowering, element.name, member(lowering, value, property, element));
  }
}

// Effects

/** An expression for what it does: assignments, ++ and --, calls. */
export function lowerEffect(lowering: Lowering, node: ts.Expression): void {
  if (ts.isParenthesizedExpression(node)) return lowerEffect(lowering, node.expression);
  if (ts.isBinaryExpression(node)) {
    const operator = node.operatorToken.kind;
    if (operator === ts.SyntaxKind.EqualsToken)
      return assign(lowering, node.left, lowerExpression(lowering, node.right), node);
    const compound = compoundOperators[operator];
    if (compound) return update(lowering, node.left, compound, lowerExpression(lowering, node.right), node);
  }
  if (ts.isPrefixUnaryExpression(node) || ts.isPostfixUnaryExpression(node)) {
    const one: LanguageValue = { kind: "literal", value: 1n };
    if (node.operator === ts.SyntaxKind.PlusPlusToken)
      return update(lowering, node.operand, ts.SyntaxKind.PlusToken, one, node);
    if (node.operator === ts.SyntaxKind.MinusMinusToken)
      return update(lowering, node.operand, ts.SyntaxKind.MinusToken, one, node);
  }
  if (!ts.isCallExpression(node)) {
    const { operatorToken: operator } = node as ts.BinaryExpression;
    const name =
      ts.isBinaryExpression(node) &&
      operator.kind <= ts.SyntaxKind.LastAssignment &&
      operator.kind >= ts.SyntaxKind.FirstAssignment
        ? `The operator ${operator.getText()}`
        : foreignExpressions[node.kind];
    return lowering.fail("notInSubset", node, name ?? "An expression that does nothing");
  }
  lowerExpression(lowering, node);
}

function update(
  lowering: Lowering,
  target: ts.Expression,
  operator: ts.SyntaxKind,
  value: LanguageValue,
  node: ts.Node,
): void {
  if (operator === ts.SyntaxKind.PlusToken && ts.isPropertyAccessExpression(target)) {
    const object = lowerExpression(lowering, target.expression);
    lowering.at(node);
    if (
      (object.kind === "view" || object.kind === "nullable") &&
      object.view.add?.(lowering, target.name.text, value, node)
    )
      return;
  }
  const before = lowerExpression(lowering, target);
  lowering.at(node);
  assign(lowering, target, calculate(lowering, operator, before, value, node), node);
}

function assign(lowering: Lowering, target: ts.Expression, value: LanguageValue, node: ts.Node): void {
  lowering.at(node);
  if (ts.isIdentifier(target)) {
    const symbol = lowering.symbol(target);
    const binding = symbol && lowering.bindings.get(symbol);
    if (binding?.kind !== "variable") return lowering.fail("readOnly", target, target.text);
    return lowering.builder.write(binding.variable, lowering.asType(value, binding.type, node));
  }
  if (!ts.isPropertyAccessExpression(target)) return lowering.fail("notInSubset", target, "Assigning to this");
  const object = lowerExpression(lowering, target.expression);
  lowering.at(node);
  const view = object.kind === "view" || object.kind === "nullable" ? object.view : undefined;
  if (!view?.set?.(lowering, target.name.text, value, node)) lowering.fail("readOnly", target, target.getText());
}

// Control flow

function lowerIf(lowering: Lowering, node: ts.IfStatement): void {
  const { builder } = lowering;
  const [yes, no, exit] = [builder.block(), builder.block(), builder.block()];
  lowerCondition(lowering, node.expression, yes, no);
  for (const [block, statement] of [
    [yes, node.thenStatement],
    [no, node.elseStatement],
  ] as const) {
    if (!lowering.enter(block)) continue;
    if (statement) lowerStatement(lowering, statement);
    builder.jump(exit);
  }
  if (!lowering.enter(exit)) builder.abandon();
}

function lowerReturn(lowering: Lowering, node: ts.ReturnStatement): void {
  const target = lowering.returns.at(-1)!;
  switch (target.kind) {
    case "nothing":
      if (node.expression) lowerExpression(lowering, node.expression);
      return lowering.builder.jump(target.exit);
    case "condition":
      if (!node.expression) return lowering.fail("notBoolean", node, "nothing");
      return lowerCondition(lowering, node.expression, target.yes, target.no);
    case "variable": {
      if (!node.expression) return lowering.fail("notInteger", node, "nothing");
      const value = lowerExpression(lowering, node.expression);
      lowering.builder.write(target.variable, lowering.asType(value, target.type, node));
      return lowering.builder.jump(target.exit);
    }
  }
}
