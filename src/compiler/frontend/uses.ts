/** What a policy's code calls, its functions' included: known before anything is lowered. */
import ts from "#typescript";
import type { PolicyUse } from "./members.ts";
import type { PolicyProgram, RunFunction } from "./program.ts";

/** What an actor may ask for at the end of the chain. */
const endings = ["redirect", "mirror", "insert", "duplicate", "answer"] as const;
export type Ending = (typeof endings)[number];

/** Those that are compiled from TypeScript. */
export const compiled = (uses: readonly PolicyUse[]): PolicyUse[] => uses.filter(({ policy }) => !policy.foreign);

/** What any of the actors may ask for at the end of the chain. */
export function endingsOf(actors: readonly PolicyUse[], program: PolicyProgram): Set<Ending> {
  // A foreign actor can only redirect: what it asks for is not known.
  if (actors.some(({ policy }) => policy.foreign))
    return new Set([...endingsOf(compiled(actors), program), "redirect"]);
  const runs = actors.map(({ file, policy }) => program.findRun(file, policy.kind, policy.name));
  return new Set(endings.filter((ending) => runs.some((run) => callsMethod(run, program, new Set([ending])))));
}

/** Whether actors make segments of their own, which may meet the chain again. */
export function makeSegments(asked: ReadonlySet<Ending>): boolean {
  return asked.has("duplicate") || asked.has("answer");
}

/** Whether `run`, or a function it calls, calls a method of one of these names. */
export function callsMethod(run: RunFunction, program: PolicyProgram, names: ReadonlySet<string>): boolean {
  return contains(run, program, (node) => {
    const method = ts.isCallExpression(node) && ts.isPropertyAccessExpression(node.expression) && node.expression.name;
    return method && names.has(method.text);
  });
}

/** Whether `run`, or a function it calls, walks the TCP options. */
export function walksOptions(run: RunFunction, program: PolicyProgram): boolean {
  return contains(run, program, (node) => {
    if (ts.isBindingElement(node)) return (node.propertyName ?? node.name).getText() === optionsProperty;
    return ts.isPropertyAccessExpression(node) && node.name.text === optionsProperty;
  });
}

/** Whether `run`, or a function it calls, assigns to a property of one of these names. */
export function assignsTo(run: RunFunction, program: PolicyProgram, names: ReadonlySet<string>): boolean {
  return contains(run, program, (node) => {
    if (!ts.isBinaryExpression(node) || !ts.isPropertyAccessExpression(node.left)) return false;
    return node.operatorToken.kind === ts.SyntaxKind.EqualsToken && names.has(node.left.name.text);
  });
}

const optionsProperty = "options";

/** Whether `run`, or a function it calls, has a node for which `test` holds. */
function contains(run: RunFunction, program: PolicyProgram, test: (node: ts.Node) => boolean): boolean {
  const visited = new Set<ts.Node>();
  const visit = (node: ts.Node): boolean => {
    if (test(node)) return true;
    if (ts.isCallExpression(node) && ts.isIdentifier(node.expression) && visitFunction(node.expression)) return true;
    return ts.forEachChild(node, (child) => visit(child) || undefined) ?? false;
  };
  const visitFunction = (name: ts.Identifier): boolean => {
    const declaration = program.symbol(name)?.valueDeclaration;
    if (!declaration || visited.has(declaration) || program.isLanguage(declaration.getSourceFile())) return false;
    visited.add(declaration);
    return visit(declaration);
  };
  return visit(run);
}
