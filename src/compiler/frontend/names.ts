/** Names that stand for constants: those of the policy language, and `as const` objects of the user's files. */
import ts from "typescript6";
import * as language from "../../policy/index.ts";
import type { Lowering } from "./lowering.ts";
import { lowerExpression } from "./expressions.ts";
import type { LanguageValue } from "./values.ts";

/** `subtype.join` and its like: numbers that the policy language exports. */
export function languageConstant(lowering: Lowering, node: ts.PropertyAccessExpression): LanguageValue | undefined {
  if (!ts.isIdentifier(node.expression)) return undefined;
  const name = languageName(lowering, node.expression);
  const object = name && (language as Readonly<Record<string, unknown>>)[name];
  if (typeof object !== "object" || object === null) return undefined;
  const value = (object as Readonly<Record<string, unknown>>)[node.name.text];
  return typeof value === "number" ? { kind: "literal", value: BigInt(value) } : undefined;
}

/** A field of an object literal that a top-level const of a policy file names. */
export function objectConstant(lowering: Lowering, node: ts.PropertyAccessExpression): LanguageValue | undefined {
  const declaration = lowering.symbol(node)?.valueDeclaration;
  if (!declaration || !ts.isPropertyAssignment(declaration)) return undefined;
  return lowerExpression(lowering, declaration.initializer);
}

/** The name under which the policy language exports what `node` refers to, if it does. */
export function languageName(lowering: Lowering, node: ts.Identifier): string | undefined {
  const symbol = lowering.symbol(node);
  const file = symbol?.declarations?.[0]?.getSourceFile();
  return symbol && file && lowering.program.isLanguage(file) ? symbol.name : undefined;
}
