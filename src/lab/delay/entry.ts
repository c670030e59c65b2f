/** Where the delay process starts: beside this module once built; from the sources (under a test runner) a copy is made. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const sourceRoot = fileURLToPath(new URL("../../", import.meta.url));
const entry = "lab/delay/main.ts";

/** The JavaScript file to run. */
export async function delayEntry(): Promise<string> {
  const built = fileURLToPath(new URL("./main.js", import.meta.url));
  return existsSync(built) ? built : await transpile();
}

/** Node 20 runs no TypeScript, so the few files of the process are stripped of their types, once per content. */
async function transpile(): Promise<string> {
  const sources = collect(entry, new Map());
  const hash = createHash("sha256")
    .update(JSON.stringify([...sources]))
    .digest("hex")
    .slice(0, 16);
  const target = path.join(sourceRoot, "../node_modules/.cache/emptcp", hash);
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
  const text = readFileSync(path.join(sourceRoot, file), "utf8");
  into.set(file, text);
  for (const [, specifier] of text.matchAll(/^(?:import|export)[^;]*? from "(\.[^"]+)";$/gms)) {
    collect(path.join(path.dirname(file), specifier), into);
  }
  return into;
}
