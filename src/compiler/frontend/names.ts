/** Names that stand for constants: those of the policy language, and `as const` objects of the user's files. */
import ts from "#typescript";
import * as language from "../../policy/index.ts";
import type { Lowering } from "./lowering.ts";
import { lowerExpression } from "./expressions.ts";
import type { LanguageValue } from "./values.ts";

/** `subtype.join` and its like: numbers that the policy language exports. */
export function languageConstant(lowering: Lowering, node: ts.PropertyAccessExpression): LanguageValue | undefined {
  if (!ts.isIdentifier(node.expression)) return undefined;
  const name = lowering.program.languageName(node.expression);
  const object = name && (language as Readonly<Record<string, unknown>>)[name];
  if (typeof object !== "object" || object === null) return undefined;
  const value = (object as Readonly<Record<string, unknown>>)[node.name.text];
  return typeof value === "number" ? { kind: "literal", value: BigInt(value) } : undefined;
}

/** A field of an object literal that a top-level const of a policy file names. */
export function objectConstant(lowering: Lowering, node: ts.PropertyAccessExpression): LanguageValue | undefined {
  const declaration = lowering.symbol(node)?.valueDeclaration;
  if (!declaration || !ts.isPropertyAssignment(declaration)) return undefined;
  return lowerConstant(lowering, declaration.initializer, node);
}

/**
 * The value of a constant outside of the policy. Only what is known while compiling can stand there: functions of the
 * language do not exist when the file is loaded.
 */
export function lowerConstant(lowering: Lowering, initializer: ts.Expression, use: ts.Node): LanguageValue {
  if (lowering.constants.has(initializer)) return lowering.fail("notConstant", use, use.getText());
  lowering.program.checkTypes(initializer);
  lowering.constants.add(initializer);
  const value = lowerExpression(lowering, initializer);
  lowering.constants.delete(initializer);
  lowering.at(use);
  if (value.kind !== "literal" && value.kind !== "static" && value.kind !== "string")
    return lowering.fail("notConstant", initializer, use.getText());
  return value;
}
