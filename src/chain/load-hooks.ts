/**
 * Runs in Node's module loader thread: strips types from `.ts` files, because Node 20 does not, and lets files anywhere import
 * `emptcp`. A module keeps its URL, by which a policy's source is found again.
 */
import { readFile } from "node:fs/promises";
import type { LoadHook, ResolveHook } from "node:module";
import { fileURLToPath } from "node:url";

const isOwn = (specifier: string) => specifier === "emptcp" || specifier.startsWith("emptcp/");

/**
 * Always this copy of the package, resolved as if this file had asked: a chain of another copy could not be told from any
 * other object.
 */
export const resolve: ResolveHook = async (specifier, context, nextResolve) =>
  await nextResolve(specifier, isOwn(specifier) ? { ...context, parentURL: import.meta.url } : context);

export const load: LoadHook = async (url, context, nextLoad) => {
  if (!/^file:.*\.m?ts(\?.*)?$/.test(url) || url.includes("/node_modules/")) return await nextLoad(url, context);
  const path = fileURLToPath(url);
  const text = await readFile(path, "utf8");
  return { format: "module", source: await stripTypes(path, text), shortCircuit: true };
};

async function stripTypes(path: string, text: string): Promise<string> {
  const { default: ts } = await import("#typescript");
  const { outputText, diagnostics = [] } = ts.transpileModule(text, {
    fileName: path,
    reportDiagnostics: true,
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023, inlineSourceMap: true },
  });
  const first = diagnostics.find(({ category }) => category === ts.DiagnosticCategory.Error);
  if (!first) return outputText;
  const { line, character } = first.file!.getLineAndCharacterOfPosition(first.start!);
  const reason = ts.flattenDiagnosticMessageText(first.messageText, " ");
  throw new SyntaxError(`${path}:${line + 1}:${character + 1}: ${reason}`);
}
