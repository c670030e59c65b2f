/** Conditions: expressions lowered to control flow rather than to a value. */
import ts from "#typescript";
import type { Block } from "../ir/ir.ts";
import { lowerCallCondition } from "./calls.ts";
import { lowerExpression } from "./expressions.ts";
import type { Lowering } from "./lowering.ts";
import { describeValue, type LanguageValue } from "./values.ts";

/** Goes to `yes` or `no`; a block that can never be reached gets no edge. */
export function lowerCondition(lowering: Lowering, node: ts.Expression, yes: Block, no: Block): void {
  const { builder } = lowering;
  if (ts.isParenthesizedExpression(node)) return lowerCondition(lowering, node.expression, yes, no);
  if (ts.isPrefixUnaryExpression(node) && node.operator === ts.SyntaxKind.ExclamationToken)
    return lowerCondition(lowering, node.operand, no, yes);
  if (ts.isBinaryExpression(node)) {
    const operator = node.operatorToken.kind;
    if (operator === ts.SyntaxKind.AmpersandAmpersandToken || operator === ts.SyntaxKind.BarBarToken) {
      const next = builder.block();
      if (operator === ts.SyntaxKind.AmpersandAmpersandToken) lowerCondition(lowering, node.left, next, no);
      else lowerCondition(lowering, node.left, yes, next);
      if (lowering.enter(next)) lowerCondition(lowering, node.right, yes, no);
      return;
    }
  }
  if (ts.isCallExpression(node) && lowerCallCondition(lowering, node, yes, no)) return;
  branchOn(lowering, lowerExpression(lowering, node), node, yes, no);
}

/** Branches on a value's truth. */
export function branchOn(lowering: Lowering, value: LanguageValue, node: ts.Node, yes: Block, no: Block): void {
  const { builder } = lowering;
  const condition = truth(lowering, value, node);
  if (condition.kind === "static") return builder.jump(condition.value ? yes : no);
  const { op } = condition.value;
  if (op.op === "compare") builder.branch(op.fn, op.left, op.right, yes, no);
  else builder.branch("ne", condition.value, builder.const(0), yes, no);
}

/** A value as a condition: booleans, and whether a nullable is there. */
export function truth(
  lowering: Lowering,
  value: LanguageValue,
  node: ts.Node,
): LanguageValue & { kind: "boolean" | "static" } {
  switch (value.kind) {
    case "boolean":
    case "static":
      return value;
    case "nullable":
      return lowering.boolean("ne", value.pointer, lowering.builder.const(0, 64)) as LanguageValue & {
        kind: "boolean";
      };
    case "undefined":
      return { kind: "static", value: false };
    default:
      return lowering.fail("notBoolean", node, describeValue(value));
  }
}
