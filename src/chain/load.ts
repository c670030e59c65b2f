/** Loads what users write in files of their own: chains, and data described in TypeScript. */
import { existsSync, statSync } from "node:fs";
import { register } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { FileError } from "./errors.ts";
import type { Actor, Policy } from "../policy/index.ts";
import { ActorChain, SelectorChain } from "./compose.ts";
import { PolicyChain } from "./policy-chain.ts";

let hooked = false;

/** Only what is built has hooks that Node can run; under a test runner, which strips types itself, there is nothing to do. */
function hookLoader(): void {
  if (hooked || !import.meta.url.endsWith(".js")) return;
  register("./load-hooks.js", import.meta.url);
  hooked = true;
}

/**
 * Imports a `.ts`, `.js` or `.mjs` file, wherever it is; it may import `emptcp`.
 * @throws FileError with the line at fault
 */
export async function importFile(file: string): Promise<Readonly<Record<string, unknown>>> {
  const path = resolve(file);
  if (!existsSync(path) || !statSync(path).isFile()) throw new FileError(`Cannot load ${file}: there is no such file`);
  if (!/\.m?[jt]s$/.test(path)) throw new FileError(`Cannot load ${file}: it is no .ts, .js or .mjs file`);
  hookLoader();
  // So that the lines in stack traces are those of the TypeScript.
  process.setSourceMapsEnabled(true);
  try {
    return (await import(pathToFileURL(path).href)) as Record<string, unknown>;
  } catch (cause) {
    throw new FileError(`Cannot load ${file}: ${describeFailure(cause, path)}`, { cause });
  } finally {
    process.setSourceMapsEnabled(false);
  }
}

function describeFailure(error: unknown, path: string): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof SyntaxError) return error.message.startsWith("/") ? error.message : syntaxErrorOf(error, path);
  // Where in the user's file it went wrong: the topmost frame there.
  const frame = (error.stack ?? "").split("\n").find((line) => line.trim().startsWith("at ") && line.includes(path));
  const place = frame && /:(\d+):(\d+)\)?$/.exec(frame);
  return `${place ? `${path}:${place[1]}:${place[2]}: ` : ""}${error.message}`;
}

/** JavaScript's own syntax errors begin their stack with the place. */
function syntaxErrorOf(error: SyntaxError, path: string): string {
  const place = /^file:\/\/\S+?:(\d+)$/m.exec(error.stack ?? "")?.[1];
  return `${path}${place === undefined ? "" : `:${place}`}: ${error.message}`;
}

/**
 * The chain that a file exports as its default.
 * @throws FileError
 */
export async function loadChainFile(file: string): Promise<PolicyChain> {
  return chainOf((await importFile(file))["default"], file);
}

/**
 * The chain that a file exports as its default; or, where it exports a single actor, that actor for every packet.
 * @throws FileError; ParameterError when the actor needs parameters
 */
export async function loadChainOrActor(file: string): Promise<PolicyChain> {
  const exported = await importFile(file);
  const found = exported["default"] ?? exported;
  if (exported["default"] !== undefined && !isPolicy(found)) return chainOf(found, file);
  const policies = isPolicy(found) ? [found] : Object.values(exported).filter(isPolicy);
  const actors = policies.filter((policy): policy is Actor => policy.kind === "actor");
  if (actors.length === 1) return new PolicyChain(new SelectorChain(), new ActorChain().add(actors[0]));
  const names = policies.map(({ kind, name }) => `${kind} ${name}`);
  const has = names.length > 0 ? `; what it exports is ${names.join(", ")}` : "";
  throw new FileError(
    `Cannot load a chain from ${file}: it has neither a PolicyChain as its default export nor a single actor${has}`,
  );
}

function isPolicy(value: unknown): value is Policy {
  const { kind, module } = (value ?? {}) as Partial<Policy>;
  return (kind === "actor" || kind === "selector") && typeof module === "string";
}

function chainOf(chain: unknown, file: string): PolicyChain {
  if (chain instanceof PolicyChain) return chain;
  const example = "export default new PolicyChain(selectors, actors)";
  if (chain === undefined)
    throw new FileError(`Cannot load a chain from ${file}: it has no default export; ${example}`);
  const kind = typeof chain === "object" && chain !== null ? chain.constructor.name : typeof chain;
  const problem =
    kind === "PolicyChain"
      ? 'its default export comes from another copy of the package; import from "emptcp"'
      : `its default export is no PolicyChain but ${kind}; ${example}`;
  throw new FileError(`Cannot load a chain from ${file}: ${problem}`);
}
