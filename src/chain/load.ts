/** Loads chains that users write in files of their own. */
import { FileError } from "./errors.ts";
import type { Actor, Policy } from "../policy/index.ts";
import { ActorChain, SelectorChain } from "./compose.ts";
import { importFile } from "./import-file.ts";
import { PolicyChain } from "./policy-chain.ts";

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
