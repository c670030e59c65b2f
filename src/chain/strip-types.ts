/**
 * Runs in a process of its own: turns TypeScript into JavaScript by taking its types away. The compiler takes 40 MB, which a
 * program that loads one file and then runs for days would keep; those of a worker thread are not all given back either.
 */
import ts from "#typescript";

export type StripRequest = { readonly path: string; readonly text: string };
export type StripAnswer = { readonly path: string } & ({ readonly source: string } | { readonly error: string });

process.on("message", ({ path, text }: StripRequest) => process.send!({ path, ...strip(path, text) }));

function strip(path: string, text: string): { source: string } | { error: string } {
  const { outputText, diagnostics = [] } = ts.transpileModule(text, {
    fileName: path,
    reportDiagnostics: true,
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023, inlineSourceMap: true },
  });
  const first = diagnostics.find(({ category }) => category === ts.DiagnosticCategory.Error);
  if (!first) return { source: outputText };
  const { line, character } = first.file!.getLineAndCharacterOfPosition(first.start!);
  const reason = ts.flattenDiagnosticMessageText(first.messageText, " ");
  return { error: `${path}:${line + 1}:${character + 1}: ${reason}` };
}
