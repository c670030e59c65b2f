/** Expressions: a table of handlers by syntax kind. */
import ts from "#typescript";
import type { BinaryFn, CompareFn, Value } from "../ir/ir.ts";
import type { IntegerName } from "../../policy/types.ts";
import { evaluateCompare } from "../ir/evaluate.ts";
import { lowerCall } from "./calls.ts";
import { lowerCondition, truth } from "./conditions.ts";
import { commonType, literalType, type Lowering } from "./lowering.ts";
import { languageConstant, lowerConstant, objectConstant } from "./names.ts";
import { describeValue, isSigned, widthOf, type LanguageValue } from "./values.ts";

type Handler = (lowering: Lowering, node: never) => LanguageValue;

const handlers: { readonly [K in ts.SyntaxKind]?: Handler } = {
  [ts.SyntaxKind.NumericLiteral]: (lowering: Lowering, node: ts.NumericLiteral) => {
    const text = node.getText().replaceAll("_", "");
    // TypeScript's own reading of the digits is rounded to 53 bits.
    const value = /^(\d+|0[xbo][\da-f]+)$/i.test(text) ? BigInt(text) : Number(text);
    if (typeof value === "number" && !Number.isSafeInteger(value)) lowering.fail("float", node, node.getText());
    return { kind: "literal", value: BigInt(value) };
  },
  [ts.SyntaxKind.BigIntLiteral]: (_: Lowering, node: ts.BigIntLiteral) => ({
    kind: "literal",
    value: BigInt(node.text.slice(0, -1)),
  }),
  [ts.SyntaxKind.TrueKeyword]: () => ({ kind: "static", value: true }),
  [ts.SyntaxKind.FalseKeyword]: () => ({ kind: "static", value: false }),
  [ts.SyntaxKind.StringLiteral]: (_: Lowering, node: ts.StringLiteral) => ({ kind: "string", value: node.text }),
  [ts.SyntaxKind.NoSubstitutionTemplateLiteral]: (_: Lowering, node: ts.NoSubstitutionTemplateLiteral) => ({
    kind: "string",
    value: node.text,
  }),
  [ts.SyntaxKind.ParenthesizedExpression]: (lowering: Lowering, node: ts.ParenthesizedExpression) =>
    lowerExpression(lowering, node.expression),
  [ts.SyntaxKind.AsExpression]: (lowering: Lowering, node: ts.AsExpression) => {
    const value = lowerExpression(lowering, node.expression);
    return value.kind === "nullable" ? lowering.fail("maybeUndefined", node, node.expression.getText()) : value;
  },
  [ts.SyntaxKind.Identifier]: lowerIdentifier,
  [ts.SyntaxKind.PropertyAccessExpression]: lowerProperty,
  [ts.SyntaxKind.CallExpression]: lowerCall,
  [ts.SyntaxKind.PrefixUnaryExpression]: lowerPrefix,
  [ts.SyntaxKind.BinaryExpression]: lowerBinary,
  [ts.SyntaxKind.ConditionalExpression]: lowerConditional,
  // The bytes of an option, and nothing else: packet.insert([…]), record.field.write([…]).
  [ts.SyntaxKind.ArrayLiteralExpression]: (lowering: Lowering, node: ts.ArrayLiteralExpression) => {
    if (!ts.isCallExpression(node.parent)) return lowering.fail("notInSubset", node, "An array");
    return {
      kind: "bytes",
      bytes: { kind: "list", items: node.elements.map((element) => lowerExpression(lowering, element)) },
    };
  },
  [ts.SyntaxKind.ArrowFunction]: (lowering: Lowering, node: ts.Node) => lowering.fail("closure", node),
  [ts.SyntaxKind.FunctionExpression]: (lowering: Lowering, node: ts.Node) => lowering.fail("closure", node),
};

/** Names of what people try, for the message. */
export const foreign: { readonly [K in ts.SyntaxKind]?: string } = {
  [ts.SyntaxKind.TemplateExpression]: "A template string",
  [ts.SyntaxKind.ObjectLiteralExpression]: "An object literal",
  [ts.SyntaxKind.NewExpression]: "new",
  [ts.SyntaxKind.AwaitExpression]: "await",
  [ts.SyntaxKind.YieldExpression]: "yield",
  [ts.SyntaxKind.RegularExpressionLiteral]: "A regular expression",
  [ts.SyntaxKind.ElementAccessExpression]: "Indexing with []",
  [ts.SyntaxKind.TypeOfExpression]: "typeof",
  [ts.SyntaxKind.DeleteExpression]: "delete",
  [ts.SyntaxKind.NonNullExpression]: "The assertion !",
  [ts.SyntaxKind.SpreadElement]: "Spreading",
  [ts.SyntaxKind.NullKeyword]: "null",
  [ts.SyntaxKind.PostfixUnaryExpression]: "++ or -- inside an expression",
  [ts.SyntaxKind.VoidExpression]: "void",
  [ts.SyntaxKind.ThisKeyword]: "this",
  [ts.SyntaxKind.ClassExpression]: "A class",
  [ts.SyntaxKind.TaggedTemplateExpression]: "A template string",
};

export function lowerExpression(lowering: Lowering, node: ts.Expression): LanguageValue {
  const handler = handlers[node.kind];
  if (!handler) return lowering.fail("notInSubset", node, foreign[node.kind] ?? node.getText());
  lowering.at(node);
  return handler(lowering, node as never);
}

function lowerIdentifier(lowering: Lowering, node: ts.Identifier): LanguageValue {
  if (node.text === "undefined") return { kind: "undefined" };
  const symbol = lowering.symbol(node);
  const binding = symbol && lowering.bindings.get(symbol);
  if (binding?.kind === "value") return binding.value;
  if (binding) return lowering.readVariable(binding.variable, binding.type);
  const declaration = symbol?.valueDeclaration;
  if (declaration && ts.isVariableDeclaration(declaration) && declaration.initializer && isTopLevelConst(declaration)) {
    return lowerConstant(lowering, declaration.initializer, node);
  }
  return lowering.fail("unknownName", node, node.text);
}

function isTopLevelConst(declaration: ts.VariableDeclaration): boolean {
  const list = declaration.parent;
  return (list.flags & ts.NodeFlags.Const) !== 0 && list.parent.parent.kind === ts.SyntaxKind.SourceFile;
}

function lowerProperty(lowering: Lowering, node: ts.PropertyAccessExpression): LanguageValue {
  if (node.questionDotToken) return lowering.fail("notInSubset", node, "?.");
  const constant = languageConstant(lowering, node) ?? objectConstant(lowering, node);
  if (constant) return constant;
  const object = lowerExpression(lowering, node.expression);
  lowering.at(node);
  return member(lowering, object, node.name.text, node);
}

/** `object.property`, also for destructuring. */
export function member(lowering: Lowering, object: LanguageValue, property: string, node: ts.Node): LanguageValue {
  const view = object.kind === "view" || object.kind === "nullable" ? object.view : undefined;
  const value = view?.get(lowering, property, node);
  return value ?? lowering.fail("unknownMember", node, describeValue(object), property);
}

function lowerPrefix(lowering: Lowering, node: ts.PrefixUnaryExpression): LanguageValue {
  if (node.operator === ts.SyntaxKind.ExclamationToken) {
    const value = truth(lowering, lowerExpression(lowering, node.operand), node.operand);
    if (value.kind === "static") return { kind: "static", value: !value.value };
    return lowering.boolean("eq", value.value, lowering.builder.const(0));
  }
  if (node.operator === ts.SyntaxKind.PlusPlusToken || node.operator === ts.SyntaxKind.MinusMinusToken)
    return lowering.fail("notInSubset", node, "++ or -- inside an expression");
  const operand = lowerExpression(lowering, node.operand);
  if (operand.kind === "literal")
    return {
      kind: "literal",
      value:
        node.operator === ts.SyntaxKind.MinusToken
          ? -operand.value
          : node.operator === ts.SyntaxKind.TildeToken
            ? ~operand.value
            : operand.value,
    };
  if (operand.kind !== "integer") return lowering.fail("notInteger", node, describeValue(operand));
  const { type, value } = operand;
  const { builder } = lowering;
  switch (node.operator) {
    case ts.SyntaxKind.MinusToken:
      return lowering.integer(
        type,
        lowering.wrapTo(builder.binary("sub", builder.const(0, widthOf(type)), value), type),
      );
    case ts.SyntaxKind.TildeToken:
      return lowering.integer(
        type,
        lowering.wrapTo(builder.binary("xor", value, builder.const(-1n, widthOf(type))), type),
      );
    default:
      return operand;
  }
}

const arithmetic: { readonly [K in ts.SyntaxKind]?: (signed: boolean) => BinaryFn | undefined } = {
  [ts.SyntaxKind.PlusToken]: () => "add",
  [ts.SyntaxKind.MinusToken]: () => "sub",
  [ts.SyntaxKind.AsteriskToken]: () => "mul",
  [ts.SyntaxKind.SlashToken]: (signed) => (signed ? undefined : "div"),
  [ts.SyntaxKind.PercentToken]: (signed) => (signed ? undefined : "mod"),
  [ts.SyntaxKind.AmpersandToken]: () => "and",
  [ts.SyntaxKind.BarToken]: () => "or",
  [ts.SyntaxKind.CaretToken]: () => "xor",
  [ts.SyntaxKind.LessThanLessThanToken]: () => "shl",
  [ts.SyntaxKind.GreaterThanGreaterThanToken]: (signed) => (signed ? "ashr" : "lshr"),
  [ts.SyntaxKind.GreaterThanGreaterThanGreaterThanToken]: () => "lshr",
};

/** The operator of `a += b` and its like. */
export const compoundOperators: { readonly [K in ts.SyntaxKind]?: ts.SyntaxKind } = {
  [ts.SyntaxKind.PlusEqualsToken]: ts.SyntaxKind.PlusToken,
  [ts.SyntaxKind.MinusEqualsToken]: ts.SyntaxKind.MinusToken,
  [ts.SyntaxKind.AsteriskEqualsToken]: ts.SyntaxKind.AsteriskToken,
  [ts.SyntaxKind.SlashEqualsToken]: ts.SyntaxKind.SlashToken,
  [ts.SyntaxKind.PercentEqualsToken]: ts.SyntaxKind.PercentToken,
  [ts.SyntaxKind.AmpersandEqualsToken]: ts.SyntaxKind.AmpersandToken,
  [ts.SyntaxKind.BarEqualsToken]: ts.SyntaxKind.BarToken,
  [ts.SyntaxKind.CaretEqualsToken]: ts.SyntaxKind.CaretToken,
  [ts.SyntaxKind.LessThanLessThanEqualsToken]: ts.SyntaxKind.LessThanLessThanToken,
  [ts.SyntaxKind.GreaterThanGreaterThanEqualsToken]: ts.SyntaxKind.GreaterThanGreaterThanToken,
  [ts.SyntaxKind.GreaterThanGreaterThanGreaterThanEqualsToken]: ts.SyntaxKind.GreaterThanGreaterThanGreaterThanToken,
};

const comparisons: { readonly [K in ts.SyntaxKind]?: readonly [unsigned: CompareFn, signed: CompareFn] } = {
  [ts.SyntaxKind.EqualsEqualsEqualsToken]: ["eq", "eq"],
  [ts.SyntaxKind.ExclamationEqualsEqualsToken]: ["ne", "ne"],
  [ts.SyntaxKind.LessThanToken]: ["ult", "slt"],
  [ts.SyntaxKind.LessThanEqualsToken]: ["ule", "sle"],
  [ts.SyntaxKind.GreaterThanToken]: ["ugt", "sgt"],
  [ts.SyntaxKind.GreaterThanEqualsToken]: ["uge", "sge"],
};

function lowerBinary(lowering: Lowering, node: ts.BinaryExpression): LanguageValue {
  const operator = node.operatorToken.kind;
  switch (operator) {
    case ts.SyntaxKind.EqualsEqualsToken:
    case ts.SyntaxKind.ExclamationEqualsToken:
      return lowering.fail("looseEquality", node.operatorToken, node.operatorToken.getText());
    case ts.SyntaxKind.AmpersandAmpersandToken:
    case ts.SyntaxKind.BarBarToken:
      return materialise(lowering, node);
  }
  const left = lowerExpression(lowering, node.left);
  const right = lowerExpression(lowering, node.right);
  lowering.at(node);
  const comparison = comparisons[operator];
  if (comparison) return compare(lowering, comparison, left, right, node);
  if (arithmetic[operator]) return calculate(lowering, operator, left, right, node);
  return lowering.fail("notInSubset", node.operatorToken, `The operator ${node.operatorToken.getText()}`);
}

const literalArithmetic: Readonly<Record<BinaryFn, (a: bigint, b: bigint) => bigint>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => (b === 0n ? 0n : a / b),
  mod: (a, b) => (b === 0n ? a : a % b),
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  shl: (a, b) => a << (b & 63n),
  lshr: (a, b) => a >> (b & 63n),
  ashr: (a, b) => a >> (b & 63n),
};

/** `left operator right` on integers. */
export function calculate(
  lowering: Lowering,
  operator: ts.SyntaxKind,
  left: LanguageValue,
  right: LanguageValue,
  node: ts.Node,
): LanguageValue {
  const choose = arithmetic[operator]!;
  if (left.kind === "literal" && right.kind === "literal")
    return { kind: "literal", value: literalArithmetic[choose(false)!](left.value, right.value) };
  const shift = [
    ts.SyntaxKind.LessThanLessThanToken,
    ts.SyntaxKind.GreaterThanGreaterThanToken,
    ts.SyntaxKind.GreaterThanGreaterThanGreaterThanToken,
  ].includes(operator);
  // A shift's result has the type of what is shifted, whatever the count's.
  const operands =
    shift && left.kind === "integer" ? shiftOperands(lowering, left, right, node) : lowering.unify(left, right, node);
  const fn = choose(isSigned(operands.type));
  if (!fn) return lowering.fail("notInSubset", node, "Division of signed integers");
  const result = lowering.builder.binary(fn, operands.left, operands.right);
  const grows = fn === "add" || fn === "sub" || fn === "mul" || fn === "shl";
  return lowering.integer(operands.type, grows ? lowering.wrapTo(result, operands.type) : result);
}

function shiftOperands(
  lowering: Lowering,
  left: LanguageValue & { kind: "integer" },
  right: LanguageValue,
  node: ts.Node,
): { type: IntegerName; left: Value; right: Value } {
  const count =
    right.kind === "literal"
      ? lowering.builder.const(right.value, widthOf(left.type))
      : lowering.convert(right, left.type, node);
  return { type: left.type, left: left.value, right: count };
}

function compare(
  lowering: Lowering,
  [unsigned, signed]: readonly [CompareFn, CompareFn],
  left: LanguageValue,
  right: LanguageValue,
  node: ts.Node,
): LanguageValue {
  const equality = unsigned === "eq" || unsigned === "ne";
  if (left.kind === "undefined" || right.kind === "undefined") {
    const other = left.kind === "undefined" ? right : left;
    if (other.kind === "nullable" && equality)
      return lowering.boolean(unsigned, other.pointer, lowering.builder.const(0, 64));
    return { kind: "static", value: (unsigned === "eq") === (other.kind === "undefined") };
  }
  if (left.kind === "string" || right.kind === "string") return compareWords(lowering, unsigned, left, right, node);
  if (left.kind === "address" || right.kind === "address") return lowering.fail("addressUse", node);
  if (left.kind === "literal" && right.kind === "literal")
    return { kind: "static", value: evaluateCompare(unsigned, 64, left.value, right.value) };
  if (equality && isTruth(left) && isTruth(right))
    return lowering.boolean(unsigned, lowering.asBoolean(left, node), lowering.asBoolean(right, node));
  const operands = lowering.unify(left, right, node);
  return lowering.boolean(isSigned(operands.type) ? signed : unsigned, operands.left, operands.right);
}

function isTruth(value: LanguageValue): boolean {
  return value.kind === "boolean" || value.kind === "static";
}

function compareWords(
  lowering: Lowering,
  fn: CompareFn,
  left: LanguageValue,
  right: LanguageValue,
  node: ts.Node,
): LanguageValue {
  if (fn !== "eq" && fn !== "ne") return lowering.fail("stringValue", node);
  if (left.kind === "string" && right.kind === "string")
    return { kind: "static", value: (left.value === right.value) === (fn === "eq") };
  const [choice, word] = left.kind === "choice" ? [left, right] : [right, left];
  if (choice.kind !== "choice" || word.kind !== "string") return lowering.fail("stringValue", node);
  const index = choice.words.indexOf(word.value);
  return lowering.boolean(fn, choice.value, lowering.builder.const(index));
}

/** A condition as a value: control flow joined again. */
export function materialise(lowering: Lowering, node: ts.Expression): LanguageValue {
  const { builder } = lowering;
  const [yes, no, exit] = [builder.block(), builder.block(), builder.block()];
  const variable = lowering.variable("condition", "boolean");
  lowerCondition(lowering, node, yes, no);
  const [canBeTrue, canBeFalse] = [builder.isReached(yes), builder.isReached(no)];
  for (const [block, value] of [
    [yes, 1],
    [no, 0],
  ] as const) {
    if (!lowering.enter(block)) continue;
    builder.write(variable, builder.const(value));
    builder.jump(exit);
  }
  lowering.enter(exit);
  if (!canBeTrue || !canBeFalse) return { kind: "static", value: canBeTrue };
  return lowering.readVariable(variable, "boolean");
}

function lowerConditional(lowering: Lowering, node: ts.ConditionalExpression): LanguageValue {
  const { builder } = lowering;
  const [yes, no, exit] = [builder.block(), builder.block(), builder.block()];
  lowerCondition(lowering, node.condition, yes, no);
  // Each side is lowered in its own block; the type is known only when both are.
  const sides = (
    [
      [yes, node.whenTrue],
      [no, node.whenFalse],
    ] as const
  ).flatMap(([block, expression]) => {
    if (!lowering.enter(block)) return [];
    const value = lowerExpression(lowering, expression);
    return [{ value, block: builder.current, expression }];
  });
  if (sides.length === 1) {
    builder.enter(sides[0].block);
    builder.jump(exit);
    lowering.enter(exit);
    return sides[0].value;
  }
  const [first, second] = [sides[0].value, sides[1].value];
  const type = resultType(lowering, first, second, node);
  const variable = lowering.variable("conditional", type);
  for (const { value, block, expression } of sides) {
    builder.enter(block);
    builder.write(variable, lowering.asType(value, type, expression));
    builder.jump(exit);
  }
  lowering.enter(exit);
  const result = lowering.readVariable(variable, type);
  const constants = [constantsOf(first), constantsOf(second)];
  if (result.kind !== "integer" || !constants[0] || !constants[1]) return result;
  return { ...result, oneOf: constants.flatMap((some) => some ?? []) };
}

/** What a value can be, where that is known. */
function constantsOf(value: LanguageValue): readonly bigint[] | undefined {
  if (value.kind === "literal") return [value.value];
  return value.kind === "integer" ? value.oneOf : undefined;
}

function resultType(
  lowering: Lowering,
  first: LanguageValue,
  second: LanguageValue,
  node: ts.Node,
): IntegerName | "boolean" {
  if (isTruth(first) && isTruth(second)) return "boolean";
  if (first.kind === "literal" && second.kind === "literal") return literalType(first.value, second.value);
  const type = commonType(first, second);
  const areNumbers = [first, second].every(({ kind }) => kind === "integer" || kind === "literal");
  return areNumbers && type ? type : lowering.fail("mixedTypes", node, describeValue(first), describeValue(second));
}
