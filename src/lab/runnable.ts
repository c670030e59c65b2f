/**
 * Modules that run in a process of their own, as files that Node can start: the built ones, or, when this module itself runs
 * from its sources (under a test runner), copies without types.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../", import.meta.url));

/** The JavaScript file of a module given by its path below `src`, e.g. "lab/delay/main.ts". */
export async function runnableModule(module: string): Promise<string> {
  const built = path.join(root, module.replace(/\.ts$/, ".js"));
  return existsSync(built) ? built : await transpile(module);
}

/** Node 20 runs no TypeScript: the module and all it imports are stripped of their types, once per content. */
async function transpile(entry: string): Promise<string> {
  const sources = collect(entry, new Map());
  const hash = createHash("sha256")
    .update(JSON.stringify([...sources]))
    .digest("hex")
    .slice(0, 16);
  const target = path.join(root, "../node_modules/.cache/emptcp", hash);
  const result = path.join(target, entry.replace(/\.ts$/, ".js"));
  if (existsSync(result)) return result;
  const { default: ts } = await import("typescript6");
  const compilerOptions = {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    rewriteRelativeImportExtensions: true,
    verbatimModuleSyntax: true,
  };
  // Built aside and renamed: another process may be doing the same.
  const aside = `${target}.${process.pid}`;
  for (const [file, text] of sources) {
    const out = path.join(aside, file.replace(/\.ts$/, ".js"));
    mkdirSync(path.dirname(out), { recursive: true });
    writeFileSync(out, ts.transpileModule(text, { compilerOptions }).outputText);
  }
  writeFileSync(path.join(aside, "package.json"), `{"type":"module"}`);
  try {
    renameSync(aside, target);
  } catch (error) {
    rmSync(aside, { recursive: true, force: true });
    if (!existsSync(result)) throw error;
  }
  return result;
}

function collect(file: string, into: Map<string, string>): Map<string, string> {
  if (into.has(file)) return into;
  const text = readFileSync(path.join(root, file), "utf8");
  into.set(file, text);
  for (const [, specifier] of text.matchAll(/^(?:import|export)[^;]*? from "(\.[^"]+)";$/gms)) {
    collect(path.join(path.dirname(file), specifier), into);
  }
  return into;
}
