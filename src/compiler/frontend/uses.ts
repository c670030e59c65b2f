/** What a policy's code calls, its functions' included: known before anything is lowered. */
import ts from "typescript6";
import type { PolicyProgram, RunFunction } from "./program.ts";

/** Whether `run`, or a function it calls, calls a method of one of these names. */
export function callsMethod(run: RunFunction, program: PolicyProgram, names: ReadonlySet<string>): boolean {
  const visited = new Set<ts.Node>();
  const visit = (node: ts.Node): boolean => {
    if (ts.isCallExpression(node)) {
      const { expression } = node;
      if (ts.isPropertyAccessExpression(expression) && names.has(expression.name.text)) return true;
      if (ts.isIdentifier(expression) && visitFunction(expression)) return true;
    }
    return ts.forEachChild(node, visit) ?? false;
  };
  const visitFunction = (name: ts.Identifier): boolean => {
    const declaration = program.symbol(name)?.valueDeclaration;
    if (!declaration || visited.has(declaration) || program.isLanguage(declaration.getSourceFile())) return false;
    visited.add(declaration);
    return visit(declaration);
  };
  return visit(run);
}
