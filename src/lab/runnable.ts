/**
 * Modules that run in a process of their own, as files that Node can start: the built ones, or, when this module itself runs
 * from its sources (under a test runner), copies without types.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../", import.meta.url));

/** The JavaScript file of a module given by its path below `src`, e.g. "lab/delay/main.ts". */
export function runnableModule(module: string): string {
  const built = path.join(root, module.replace(/\.ts$/, ".js"));
  return existsSync(built) ? built : transpile(module);
}

const tscOptions =
  "--ignoreConfig --noCheck --rewriteRelativeImportExtensions --module nodenext --target es2023 --types node --verbatimModuleSyntax";

/** Node 20 runs no TypeScript: the module and all it imports are stripped of their types, once per content. */
function transpile(entry: string): string {
  const hash = createHash("sha256");
  for (const source of collect(entry, new Map())) hash.update(source.join("\0"));
  const target = path.join(root, "../node_modules/.cache/emptcp", hash.digest("hex").slice(0, 16));
  const result = path.join(target, entry.replace(/\.ts$/, ".js"));
  if (existsSync(result)) return result;
  // Built aside and renamed: another process may be doing the same.
  const aside = `${target}.${process.pid}`;
  const tsc = path.join(root, "../node_modules/typescript/bin/tsc");
  const args = [tsc, ...tscOptions.split(" "), "--rootDir", root, "--outDir", aside, path.join(root, entry)];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  if (!existsSync(path.join(aside, path.relative(target, result)))) {
    throw new Error(`Cannot build ${entry} to run it in a process of its own: ${stdout}${stderr}`);
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
