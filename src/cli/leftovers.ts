/** What dead runs of emptcp have left on this machine: found, and removed. */
import { existsSync } from "node:fs";
import { cleanUp, listChains, openChain } from "../chain/chains.ts";
import { unusedHostState } from "../chain/host-state.ts";
import type { Abandoned } from "../chain/pins.ts";
import { abandonedChains, chainDirectory, chainNames, readDescription } from "../chain/store.ts";
import { cleanUpStack, stackLeftovers } from "../instack/actors.ts";
import { InStackError } from "../instack/errors.ts";
import { showTarget, Strategies, type StrategyTarget } from "../instack/strategies.ts";
import { cleanLab, listLabs, type Leftover } from "../lab/clean.ts";
import { inEveryNetns, netnsInode, netnsPath } from "../linux/netns.ts";

export interface Leftovers {
  /** Labs whose process is gone, and their namespaces. */
  readonly labs: readonly Leftover[];
  /** Chains in network namespaces of such labs, or in ones that are gone. */
  readonly chains: readonly string[];
  /** Halves of chains, of changes and of removals, by name. */
  readonly halfChains: readonly Half[];
  /** The same of actors in the stack. */
  readonly halfActors: readonly Half[];
  /** Actors in the stack that were to go with a process that is gone. */
  readonly actors: readonly string[];
  /** Host-wide state that nothing uses. */
  readonly state: readonly string[];
  /** Strategies for connections and subflows that there are no more. */
  readonly strategies: readonly StrategyTarget[];
}

export type Half = Pick<Abandoned, "name" | "undertaking">;

const half = ({ name, undertaking }: Abandoned): Half => ({ name, undertaking });

export function findLeftovers(): Leftovers {
  const labs = listLabs().flatMap(({ alive, ...lab }) => (alive ? [] : [lab]));
  const stack = stackLeftovers();
  return {
    labs,
    chains: strandedChains(labs),
    halfChains: abandonedChains().map(half),
    halfActors: stack.halves.map(half),
    actors: stack.ownerless,
    state: unusedHostState(),
    strategies: withStrategies((strategies) => strategies.stale().map(({ target }) => target)) ?? [],
  };
}

/** Chains that are nowhere, or will be when the labs are removed. */
function strandedChains(labs: readonly Leftover[]): string[] {
  const dead = new Set(labs.flatMap(({ namespaces }) => namespaces));
  const alive = new Set(inEveryNetns(() => netnsInode()));
  return chainNames().filter((chain) => {
    const directory = chainDirectory(chain);
    const { name, inode = 0 } = (directory && readDescription(directory).netns) || {};
    if (name === undefined) return false;
    // A namespace may live on without its name, as long as a process is in it.
    return dead.has(name) || (!existsSync(netnsPath(name)) && !alive.has(inode));
  });
}

/** Removes what dead runs left. @returns what was removed: what lives, and what came meanwhile, stays */
export function removeLeftovers(): Leftovers {
  const labs = listLabs().flatMap(({ alive, ...lab }) => (alive ? [] : [lab]));
  const strategies =
    withStrategies((all) => all.stale().flatMap(({ target }) => (all.remove(target) ? [target] : []))) ?? [];
  const chains = strandedChains(labs);
  const halves = cleanUp();
  const present = new Set(listChains().map(({ name }) => name));
  for (const name of chains) if (present.has(name)) openChain(name).remove();
  const stack = cleanUpStack();
  return {
    labs: cleanLab(),
    chains,
    halfChains: halves.chains.map(half),
    halfActors: stack.halves.map(half),
    actors: stack.ownerless,
    state: [...halves.hostState, ...cleanUp().hostState],
    strategies,
  };
}

/** Nothing where nothing on this host follows strategies. */
function withStrategies<T>(use: (strategies: Strategies) => T): T | undefined {
  let strategies: Strategies;
  try {
    strategies = new Strategies();
  } catch (error) {
    if (error instanceof InStackError) return undefined;
    throw error;
  }
  try {
    return use(strategies);
  } finally {
    strategies[Symbol.dispose]();
  }
}

const halves = {
  submit: (what: string) => `the half-made ${what}`,
  change: (what: string) => `a half-made change of ${what}`,
  remove: (what: string) => `the rest of ${what}: its removal was cut short`,
} as const;

/** Shared state is made in the same folder as chains, see chain/host-state.ts. */
const describeHalf = (name: string): string =>
  name.startsWith("host_") ? `shared state ${name.slice("host_".length)}` : `chain ${name}`;

/** One line for each kind of thing and each thing of it that is worth one. */
export function describeLeftovers(found: Leftovers): string[] {
  return [
    ...found.halfChains.map(({ name, undertaking }) => halves[undertaking](describeHalf(name))),
    ...found.halfActors.map(({ name, undertaking }) => halves[undertaking](`congestion control ${name}`)),
    ...found.actors.map((name) => `congestion control ${name}, whose process is gone`),
    ...found.chains.map((name) => `chain ${name}, whose network namespace is gone or a dead lab's`),
    ...found.state.map((name) => `shared state ${name}, which nothing uses`),
    ...(found.strategies.length > shownStrategies
      ? [`${found.strategies.length} strategies of connections that are gone`]
      : found.strategies.map((target) => `the strategy of ${showTarget(target)}, which is gone`)),
    ...found.labs.map(({ pid, namespaces }) => `${namespaces.join(", ")}, of lab process ${pid}`),
  ];
}

const shownStrategies = 8;
