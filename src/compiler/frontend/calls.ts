/** Calls: the language's own functions, methods of views, and policy functions, which are inlined. */
import ts from "#typescript";
import { helpers } from "../../bpf/helpers.ts";
import { integerSizes, type IntegerName } from "../../policy/types.ts";
import { int64, type Block } from "../ir/ir.ts";
import { branchInPrefix, branchSame, readAddress, readPrefix } from "./addresses.ts";
import { branchOn } from "./conditions.ts";
import { lowerExpression, materialise } from "./expressions.ts";
import { lowerEmit } from "./events.ts";
import { endOfTurn, type Lowering, type ReturnTarget } from "./lowering.ts";
import { callOnSaved } from "./saved-option.ts";
import type { RunFunction } from "./program.ts";
import { refreshPacket } from "./refresh.ts";
import { bindPattern, lowerBody } from "./statements.ts";
import { lowerHmac } from "./hmac.ts";
import { lowerKernelCall, lowerSchedule } from "./kernel-calls.ts";
import { lowerToken, lowerTokenV0 } from "./tokens.ts";
import { describeValue, isSigned, type LanguageValue, type View } from "./values.ts";

type Intrinsic = (lowering: Lowering, args: readonly LanguageValue[], node: ts.CallExpression) => LanguageValue;

const intrinsics: Readonly<Record<string, Intrinsic>> = {
  min: (lowering, [a, b], node) => extreme(lowering, "min", a, b, node),
  max: (lowering, [a, b], node) => extreme(lowering, "max", a, b, node),
  schedule: (lowering, [subflow], node) => lowerSchedule(lowering, subflow, node),
  claim: (lowering, [record], node) => claimed(lowering, "claim", record, node),
  offer: (lowering, [record], node) => claimed(lowering, "offer", record, node),
  mptcpHmac: (lowering, args, node) => hmac(lowering, args, node),
  mptcpToken: (lowering, [key], node) => token(lowering, lowerToken, key, node),
  mptcpTokenV0: (lowering, [key], node) => token(lowering, lowerTokenV0, key, node),
  now: (lowering) => lowering.integer("u64", lowering.builder.call(helpers.ktimeGetNs.number, [], int64, "none")),
};

type Predicate = (
  lowering: Lowering,
  args: readonly LanguageValue[],
  node: ts.CallExpression,
  yes: Block,
  no: Block,
) => void;

/** The language's functions that are conditions by nature. */
const predicates: Readonly<Record<string, Predicate>> = {
  sameAddress: (lowering, [a, b], node, yes, no) =>
    branchSame(lowering, readAddress(lowering, a, node), readAddress(lowering, b, node), yes, no),
  inPrefix: (lowering, [address, prefix], node, yes, no) =>
    branchInPrefix(lowering, readAddress(lowering, address, node), readPrefix(lowering, prefix, node), yes, no),
};

export function lowerCall(lowering: Lowering, node: ts.CallExpression): LanguageValue {
  if (ts.isPropertyAccessExpression(node.expression)) return lowerMethod(lowering, node, node.expression);
  if (!ts.isIdentifier(node.expression))
    return lowering.fail("notInSubset", node, "Calling the result of an expression");
  const name = lowering.program.languageName(node.expression);
  if (name === "cannot") return lowerCannot(lowering, node);
  if (name === "emit") return lowerEmit(lowering, node);
  if (name === "fetchAdd" || name === "compareExchange") return lowerAtomic(lowering, name, node);
  if (name && name in integerSizes) {
    const [argument] = node.arguments;
    const value = lowering.convert(lowerExpression(lowering, argument), name as IntegerName, node);
    return lowering.integer(name as IntegerName, value);
  }
  if (name && predicates[name]) return materialise(lowering, node);
  if (name) {
    const intrinsic = intrinsics[name];
    if (!intrinsic) return lowering.fail("unknownName", node.expression, name);
    return intrinsic(lowering, lowerArguments(lowering, node), node);
  }
  const callee = findFunction(lowering, node.expression);
  const only = onlyReturn(callee);
  if (only)
    return inline(lowering, callee, lowerArguments(lowering, node), node, () => returned(lowering, callee, only));
  return lowerCallValue(lowering, callee, node);
}

/** A call as a condition: `return` goes straight to where the condition leads. False for the language's other functions. */
export function lowerCallCondition(lowering: Lowering, node: ts.CallExpression, yes: Block, no: Block): boolean {
  if (!ts.isIdentifier(node.expression)) return false;
  const name = lowering.program.languageName(node.expression);
  const predicate = name && predicates[name];
  if (predicate) predicate(lowering, lowerArguments(lowering, node), node, yes, no);
  if (name) return predicate !== undefined;
  const callee = findFunction(lowering, node.expression);
  branchOnFunction(lowering, callee, lowerArguments(lowering, node), node, yes, no);
  return true;
}

/** A policy function as a condition. */
function branchOnFunction(
  lowering: Lowering,
  callee: RunFunction,
  args: readonly LanguageValue[],
  node: ts.CallExpression,
  yes: Block,
  no: Block,
): void {
  inline(lowering, callee, args, node, () => {
    const only = ts.isBlock(callee.body!) ? undefined : callee.body;
    if (only) branchOn(lowering, lowerExpression(lowering, only), only, yes, no);
    else withReturn(lowering, { kind: "condition", yes, no }, () => lowerBody(lowering, callee.body as ts.Block));
  });
}

export function lowerArguments(lowering: Lowering, node: ts.CallExpression): LanguageValue[] {
  return node.arguments.map((argument) => lowerExpression(lowering, argument));
}

function lowerMethod(lowering: Lowering, node: ts.CallExpression, callee: ts.PropertyAccessExpression): LanguageValue {
  if (ts.isIdentifier(callee.expression)) {
    const name = lowering.program.languageName(callee.expression);
    if (name === "base" || name === "reno") return lowerKernelCall(lowering, name, callee.name.text, node);
  }
  const object = lowerExpression(lowering, callee.expression);
  const written =
    (object.kind === "view" || object.kind === "nullable") &&
    object.view.callAsWritten?.(lowering, callee.name.text, node);
  if (written) return written;
  const finder = object.kind === "view" && callee.name.text === "find" ? object.view : undefined;
  if (finder?.find) return lowerFind(lowering, finder as View & Required<Pick<View, "find">>, node);
  const args = lowerArguments(lowering, node);
  lowering.at(node);
  if (object.kind === "bytes" && object.bytes.kind === "saved")
    return callOnSaved(lowering, object.bytes, callee.name.text, args[0], node);
  const view = object.kind === "view" || object.kind === "nullable" ? object.view : undefined;
  const result = view?.call?.(lowering, callee.name.text, args, node);
  return result ?? lowering.fail("unknownMember", callee.name, describeValue(object), `${callee.name.text}()`);
}

/** `options.find(isWanted)`: the first for which a policy function is true. */
function lowerFind(
  lowering: Lowering,
  view: View & Required<Pick<View, "find">>,
  node: ts.CallExpression,
): LanguageValue {
  const [predicate] = node.arguments;
  if (!predicate || !ts.isIdentifier(predicate)) return lowering.fail("findFunction", node);
  if (lowering.iterating) return lowering.fail("nestedOptions", node);
  const callee = findFunction(lowering, predicate);
  lowering.iterating = true;
  const found = view.find(lowering, (item, yes, no) => branchOnFunction(lowering, callee, [item], node, yes, no));
  lowering.iterating = false;
  return found;
}

/** The literal of `cannot("reason")`, or undefined where it is none. */
export function cannotReason(node: ts.CallExpression): string | undefined {
  const [argument] = node.arguments;
  return argument && ts.isStringLiteral(argument) && /^[a-z_]{1,32}$/.test(argument.text) ? argument.text : undefined;
}

/** The field is a place, not a value: it is not read by itself. */
function lowerAtomic(lowering: Lowering, how: "fetchAdd" | "compareExchange", node: ts.CallExpression): LanguageValue {
  const [field, ...rest] = node.arguments;
  if (!ts.isPropertyAccessExpression(field)) return lowering.fail("notAtomic", field, field.getText());
  const object = lowerExpression(lowering, field.expression);
  const values = rest.map((argument) => lowerExpression(lowering, argument));
  lowering.at(node);
  const view = object.kind === "view" || object.kind === "nullable" ? object.view : undefined;
  const before =
    how === "fetchAdd"
      ? view?.fetchAdd?.(lowering, field.name.text, values[0], node)
      : view?.compareExchange?.(lowering, field.name.text, values[0], values[1], node);
  return before ?? lowering.fail("notAtomic", field, field.getText());
}

function claimed(
  lowering: Lowering,
  how: "claim" | "offer",
  record: LanguageValue | undefined,
  node: ts.Node,
): LanguageValue {
  const view = record?.kind === "view" || record?.kind === "nullable" ? record.view : undefined;
  return view?.[how]?.(lowering) ?? lowering.fail("notClaimable", node, record ? describeValue(record) : "nothing");
}

function hmac(lowering: Lowering, args: readonly LanguageValue[], node: ts.Node): LanguageValue {
  const at = (index: number, type: IntegerName) => {
    const value = args[index] ?? lowering.fail("notInteger", node, "nothing");
    return lowering.coerce(value, type, node);
  };
  const [sender, receiver, first, second, third] = [0, 1, 2, 3, 4].map((index) => at(index, "u64"));
  return lowering.integer("u64", lowerHmac(lowering, [sender, receiver], [first, second, third], at(5, "u32")));
}

function token(
  lowering: Lowering,
  hash: typeof lowerToken,
  key: LanguageValue | undefined,
  node: ts.Node,
): LanguageValue {
  if (!key) return lowering.fail("notInteger", node, "nothing");
  const value = lowering.coerce(key, "u64", node);
  // Thousands of instructions come, which the verifier must not follow once for each way to here.
  if (lowering.packet && !lowering.iterating) refreshPacket(lowering, lowering.packet, endOfTurn(lowering));
  return lowering.integer("u32", hash(lowering, value));
}

function lowerCannot(lowering: Lowering, node: ts.CallExpression): LanguageValue {
  const reason = cannotReason(node);
  if (!reason || !lowering.effects || lowering.functions.length !== 1) return lowering.fail("cannotLiteral", node);
  lowering.effects.cannot(reason);
  const target = lowering.returns.at(-1);
  if (target?.kind === "nothing") lowering.builder.jump(target.exit);
  return { kind: "undefined" };
}

function extreme(
  lowering: Lowering,
  which: "min" | "max",
  a: LanguageValue,
  b: LanguageValue,
  node: ts.Node,
): LanguageValue {
  if (a.kind === "literal" && b.kind === "literal")
    return { kind: "literal", value: a.value < b.value === (which === "min") ? a.value : b.value };
  const { type, left, right } = lowering.unify(a, b, node);
  const { builder } = lowering;
  const variable = lowering.variable(which, type);
  const [other, exit] = [builder.block(), builder.block()];
  const fn = isSigned(type) ? "slt" : "ult";
  builder.write(variable, left);
  const [first, second] = which === "min" ? [left, right] : [right, left];
  builder.branch(fn, first, second, exit, other);
  lowering.enter(other);
  builder.write(variable, right);
  builder.jump(exit);
  lowering.enter(exit);
  return lowering.readVariable(variable, type);
}

// Policy functions

function findFunction(lowering: Lowering, name: ts.Identifier): RunFunction {
  const found = declaredFunction(lowering, name);
  lowering.program.checkFunction(found);
  return found;
}

function declaredFunction(lowering: Lowering, name: ts.Identifier): RunFunction {
  const declaration = lowering.symbol(name)?.valueDeclaration;
  if (declaration && ts.isFunctionDeclaration(declaration) && declaration.body) return declaration;
  if (declaration && ts.isVariableDeclaration(declaration) && declaration.initializer) {
    const value = declaration.initializer;
    const isTopLevel = declaration.parent.parent.parent.kind === ts.SyntaxKind.SourceFile;
    if (isTopLevel && (ts.isArrowFunction(value) || ts.isFunctionExpression(value))) return value;
    if (ts.isArrowFunction(value) || ts.isFunctionExpression(value)) return lowering.fail("closure", value);
  }
  return lowering.fail("unknownName", name, name.text);
}

/** The expression of a function that is nothing but `return expression`. */
function onlyReturn(callee: RunFunction): ts.Expression | undefined {
  const body = callee.body!;
  if (!ts.isBlock(body)) return body;
  const [statement] = body.statements;
  return body.statements.length === 1 && statement && ts.isReturnStatement(statement)
    ? statement.expression
    : undefined;
}

/** The value of a function that is one expression, as the type it declares. */
function returned(lowering: Lowering, callee: RunFunction, only: ts.Expression): LanguageValue {
  return asDeclared(lowering, lowerExpression(lowering, only), callee.type, only);
}

/** A value as the integer type that stands behind a name, if one does. */
function asDeclared(
  lowering: Lowering,
  value: LanguageValue,
  declared: ts.TypeNode | undefined,
  node: ts.Node,
): LanguageValue {
  const type = declared?.getText();
  if (!type || !(type in integerSizes) || (value.kind !== "integer" && value.kind !== "literal")) return value;
  return lowering.integer(type as IntegerName, lowering.coerce(value, type as IntegerName, node));
}

function inline<T>(
  lowering: Lowering,
  callee: RunFunction,
  args: readonly LanguageValue[],
  node: ts.CallExpression,
  lower: () => T,
): T {
  if (lowering.functions.includes(callee)) return lowering.fail("recursion", node, node.expression.getText());
  callee.parameters.forEach((parameter, i) => {
    const value = args[i] ?? (parameter.initializer && lowerExpression(lowering, parameter.initializer));
    const typed = asDeclared(lowering, value ?? { kind: "undefined" }, parameter.type, node.arguments[i] ?? parameter);
    bindPattern(lowering, parameter.name, typed);
  });
  lowering.functions.push(callee);
  const loops = lowering.loops.splice(0);
  try {
    return lower();
  } finally {
    lowering.functions.pop();
    lowering.loops.push(...loops);
  }
}

export function withReturn<T>(lowering: Lowering, target: ReturnTarget, lower: () => T): T {
  lowering.returns.push(target);
  try {
    return lower();
  } finally {
    lowering.returns.pop();
  }
}

function lowerCallValue(lowering: Lowering, callee: RunFunction, node: ts.CallExpression): LanguageValue {
  const { builder } = lowering;
  const type = returnType(lowering, callee, node);
  const exit = builder.block();
  const variable = lowering.variable("result", type ?? "boolean");
  const target: ReturnTarget = type ? { kind: "variable", exit, variable, type } : { kind: "nothing", exit };
  inline(lowering, callee, lowerArguments(lowering, node), node, () => {
    withReturn(lowering, target, () => lowerBody(lowering, callee.body as ts.Block));
    if (!type) builder.jump(exit);
  });
  lowering.enter(exit);
  return type ? lowering.readVariable(variable, type) : { kind: "undefined" };
}

/** What a function returns: its declared integer type, `boolean`, or nothing. */
function returnType(
  lowering: Lowering,
  callee: RunFunction,
  node: ts.CallExpression,
): IntegerName | "boolean" | undefined {
  const { checker } = lowering.program;
  const declared = callee.type?.getText();
  if (declared && declared in integerSizes) return declared as IntegerName;
  const signature = checker.getSignatureFromDeclaration(callee);
  const flags = signature ? checker.getReturnTypeOfSignature(signature).flags : 0;
  if (flags & (ts.TypeFlags.Void | ts.TypeFlags.Undefined)) return undefined;
  if (flags & (ts.TypeFlags.Boolean | ts.TypeFlags.BooleanLiteral)) return "boolean";
  return lowering.fail("needsReturnType", node, node.expression.getText());
}
