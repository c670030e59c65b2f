/**
 * Keeps the direction of imports in src/: a layer may import itself and layers below it, pure layers do no I/O, and some
 * packages have one way in. Prints every breach with its place and the reason.
 */
import { readdirSync, readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const source = join(root, "src");

/** Layers by rank: a file may import files of a lower rank and of its own layer, not of another layer of the same rank. */
const ranks = {
  bench: 9,
  cli: 8,
  lab: 7.5,
  instack: 7,
  // src/index.ts, the package's entry point.
  ".": 7.2,
  paths: 7.1,
  chain: 6,
  policies: 5,
  net: 5,
  linux: 4,
  compiler: 3,
  policy: 2,
  bpf: 1,
  wire: 1,
};

/** Pure layers, and the only modules of Node each may use. */
const pure = { wire: ["crypto"], bpf: [], policy: [], compiler: ["path"], policies: [] };

/** Modules that only some files may import, by the start of their path in src/. */
const guarded = {
  koffi: { from: ["linux/ffi.ts"], why: "foreign calls go through one module" },
  typescript6: { from: [], why: "#typescript loads it faster" },
  "#typescript": {
    from: ["compiler/frontend/", "chain/strip-types.ts"],
    why: "only the front end and the loader of chain files read TypeScript",
  },
  child_process: {
    from: ["lab/", "cli/", "bench/", "chain/load-hooks.ts"],
    why: "only the lab, what a person starts, and the loader (Node itself) may run other programs",
  },
};

const builtins = new Set(builtinModules);
const breaches = [];
let files = 0;

for (const entry of readdirSync(source, { recursive: true, withFileTypes: true })) {
  const path = join(entry.parentPath ?? entry.path, entry.name);
  const name = relative(source, path).split(sep).join("/");
  if (!entry.isFile() || !name.endsWith(".ts") || isForTests(name)) continue;
  files++;
  for (const { specifier, line } of importsOf(readFileSync(path, "utf8"))) {
    const why = objection(name, specifier);
    if (why) breaches.push(`src/${name}:${line}  imports ${specifier}: ${why}`);
  }
}

for (const breach of breaches) console.error(breach);
if (breaches.length > 0) {
  console.error(`\n${breaches.length} of the imports in ${files} files break the layers`);
  process.exit(1);
}

/** Tests and their helpers may import anything. */
function isForTests(name) {
  return name.endsWith(".test.ts") || /(^|\/)testing(\/|[.-])/.test(name);
}

function objection(name, specifier) {
  const layer = layerOf(name);
  if (ranks[layer] === undefined) return `${layer}/ is no known layer; name it in scripts/check-layers.mjs`;
  if (specifier.startsWith(".")) return objectionToFile(name, layer, specifier);
  const module = specifier.replace(/^node:/, "");
  const guard = guarded[module] ?? guarded[module.split("/")[0]];
  if (guard && !guard.from.some((start) => name.startsWith(start)))
    return `${guard.why} (allowed in ${guard.from.map((start) => `src/${start}`).join(", ")})`;
  if (builtins.has(module) && pure[layer] && !pure[layer].includes(module))
    return `${layer}/ is pure: it runs anywhere and does no I/O`;
  return undefined;
}

function objectionToFile(name, layer, specifier) {
  const target = join(dirname(name), specifier).split(sep).join("/");
  if (isForTests(target)) return "test helpers are for tests";
  const other = layerOf(target);
  if (other === layer) return undefined;
  if (ranks[other] === undefined) return `${other}/ is no known layer; name it in scripts/check-layers.mjs`;
  if (ranks[other] < ranks[layer]) return undefined;
  const relation = ranks[other] === ranks[layer] ? "beside" : "above";
  return `${other}/ lies ${relation} ${layer}/, and imports go down only`;
}

function layerOf(name) {
  return name.includes("/") ? name.split("/")[0] : ".";
}

/** Spaces of the same length, so that positions stay. */
function blank(text) {
  return text.replace(/[^\n]/g, " ");
}

/** Static imports and re-exports, which start a line, and import(…) anywhere; comments are no code. */
function importsOf(text) {
  const code = text.replace(/^\s*\/\*[\s\S]*?\*\//gm, blank).replace(/^\s*\/\/.*$/gm, blank);
  const patterns = [
    /^(?:import|export)\b[^;"'`]*?\bfrom\s*["']([^"']+)["']/gm,
    /^import\s*["']([^"']+)["']/gm,
    /\bimport\(\s*["']([^"']+)["']\s*\)/g,
  ];
  return patterns.flatMap((pattern) =>
    [...code.matchAll(pattern)].map((match) => ({
      specifier: match[1],
      line: code.slice(0, match.index).split("\n").length,
    })),
  );
}
