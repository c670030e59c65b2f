/** Bringing a compiled chain into the kernel: a new one, or one that takes a running one's place. */
import { existsSync } from "node:fs";
import {
  compileChain,
  countersMap,
  foreignMapPrefix,
  numbered,
  parametersMap,
  parameterSize,
  parametersSize,
  parameterWords,
  writeParameter,
  type ChainLayout,
  type ChainSource,
  type CompiledChain,
  type CounterSlot,
  type Hook,
} from "../compiler/index.ts";
import type { Actor } from "../policy/index.ts";
import {
  createMap,
  interfaceIndex,
  loadCollection,
  netnsInode,
  NoSuchInterfaceError,
  openLink,
  openMap,
  withNetns,
  type Collection,
  type DirectoryLock,
  type KernelLink,
  type KernelMap,
  type KernelProgram,
} from "../linux/index.ts";
import { attach, attachmentOf, targetsOf, type Interface, type Target } from "./attach.ts";
import {
  carriedCounters,
  carriedMaps,
  carriedTotals,
  carriedWords,
  matchActors,
  matchSelectors,
  parameterKey,
  type Continuity,
} from "./carry.ts";
import { carryMembers } from "./carry-members.ts";
import type { ActorEntry } from "./compose.ts";
import { checkControl } from "./controls.ts";
import { sumCounters } from "./counters.ts";
import {
  currentVersion,
  encodeDescription,
  plainParameter,
  plainSet,
  type ActorDescription,
  type Attachment,
  type ChainDescription,
  type CounterHistory,
  type SelectorDescription,
} from "./description.ts";
import { ChainError } from "./errors.ts";
import { openHostState, removeUnusedHostState, withoutFilled, type HostState } from "./host-state.ts";
import { isIterator, programPin } from "./generations.ts";
import { loadInert } from "./inert.ts";
import { completeInputs, readWord } from "./inputs.ts";
import { keepToNamespace } from "./namespace.ts";
import type { ChainOptions } from "./policy-chain.ts";
import { isRelinked, pinAgain } from "./relink.ts";
import { cleanUp, openChain } from "./chains.ts";
import { RunningChain } from "./running.ts";
import { sourceReader } from "./sources.ts";
import { seedState } from "./state.ts";
import { aboutPin, changingPin } from "./pins.ts";
import { beginChange, beginPins, chainDirectory, checkChainName, lockChain, removeReplaced } from "./store.ts";

export interface ResolvedActor {
  /** What is done. */
  readonly policy: Actor;
  readonly entry: ActorEntry;
  readonly description: ActorDescription;
}

/** A chain as it is to be installed. */
export interface Blueprint {
  readonly name: string;
  readonly options: ChainOptions;
  readonly hooks: readonly Hook[];
  readonly source: ChainSource;
  readonly selector: SelectorDescription;
  /** Of each selector, disabled ones too, which one it is in the running chain. */
  readonly selectorOrigins: readonly (number | undefined)[];
  readonly actors: readonly ResolvedActor[];
}

/** @param counters places that counters have already */
export function compileBlueprint(
  { source, hooks, options }: Blueprint,
  counters: readonly CounterSlot[] = [],
): CompiledChain {
  return compileChain({ ...source, counters }, hooks, sourceReader, options.mode);
}

const onlyKey = new Uint8Array(4);

/** Attaches a chain, or nothing. @throws as `PolicyChain.submit` */
export function submitChain(blueprint: Blueprint): RunningChain {
  const { name, options, hooks } = blueprint;
  checkChainName(name);
  return withNetns(options.netns, () => {
    // Before anything is made: names that are wrong should not cost a compilation.
    const interfaces = (options.interfaces ?? []).map((one) => ({ name: one, index: interfaceIndex(one) }));
    checkControls(blueprint);
    const compiled = keepToNamespace(compileBlueprint(blueprint), options);
    cleanUp();
    const pins = beginPins(name);
    const links: KernelLink[] = [];
    let collection: Collection | undefined;
    let host: HostState | undefined;
    let draft: RunningChain | undefined;
    try {
      host = openHostState(compiled.layout.state, compiled.maps, pins.directory);
      collection = loadCollection(compiled, host.maps);
      const parameters = parametersValue(blueprint, compiled.layout);
      if (parameters) collection.maps[parametersMap].update(onlyKey, parameters);
      seedState(withoutFilled(compiled.layout.state, host), collection.maps);
      const targets = targetsOf(hooks, interfaces, options.cgroup);
      for (const target of targets) links.push(attach(collection.programs[target.hook], target, options.priority ?? 0));
      const description = describe(blueprint, compiled, targets.map(attachmentOf));
      pinAll(pins.directory, collection, host, links, description).close();
      draft = new RunningChain(pins.directory, description);
      draft.applyToSockets();
      return new RunningChain(pins.commit(), description);
    } catch (error) {
      draft?.releaseSockets();
      pins.rollback();
      removeUnusedHostState();
      throw error;
    } finally {
      for (const link of links) link.close();
      collection?.close();
      for (const map of Object.values(host?.maps ?? {})) map.close();
    }
  });
}

/**
 * Puts a chain in the place of the one that has its name.
 * @param expected do nothing, and say so, unless the chain there is of this generation
 * @throws as `PolicyChain.replace`
 */
export function replaceChain(blueprint: Blueprint, expected?: number): RunningChain | "outdated" {
  for (;;) {
    const running = openChain(blueprint.name);
    const old = running.description;
    if (expected !== undefined && old.generation !== expected) return "outdated";
    checkReplaceable(old, blueprint);
    const netns = blueprint.options.netns ?? old.netns.name;
    const done = withNetns(netns, () => replaceHere(blueprint, running, old));
    // Another process was faster: what it left is replaced all the same, unless the caller wants to see it first.
    if (done !== "outdated" || expected !== undefined) return done;
  }
}

/** What cannot be changed while packets flow. @throws ChainError */
function checkReplaceable(old: ChainDescription, { name, options }: Blueprint): void {
  const fail = (reason: string): never => {
    throw new ChainError(
      `Cannot replace chain ${name}: ${reason}. Remove it (emptcp chain remove ${name}) and apply it again`,
    );
  };
  if (old.fixed !== undefined) fail(old.fixed);
  const [before, after] = [old.options.priority ?? 0, options.priority ?? 0];
  if (before !== after)
    fail(`priority ${after} instead of ${before} would move it among other chains, which is not possible in one step`);
  const netns = options.netns ?? old.netns.name;
  if (netns === undefined ? netnsInode() !== old.netns.inode : netns !== old.netns.name)
    fail(`it is in another network namespace${old.netns.name === undefined ? "" : `, ${old.netns.name}`}`);
}

/** The chain was changed while its replacement was made. */
class OutdatedError extends Error {}

const version = ({ submitted, generation }: ChainDescription): string => `${submitted} ${generation}`;

function replaceHere(blueprint: Blueprint, running: RunningChain, old: ChainDescription): RunningChain | "outdated" {
  const { name, options, selector } = blueprint;
  const from = chainDirectory(name)!;
  const interfaces = findInterfaces(options.interfaces ?? [], old);
  checkControls(blueprint);
  const actors = blueprint.actors.map(({ description }) => description);
  const wanted = blueprint.actors.map(({ description, entry }) => ({ ...description, origin: entry.origin }));
  const partners: Continuity = {
    selectors: matchSelectors(old.selector, selector, blueprint.selectorOrigins),
    actors: matchActors(old.actors, wanted),
  };
  const draft = describe(blueprint, old, old.attachments, old);
  if (isRelinked(old, { ...draft, actors: wanted })) return relinkHere(draft, running, partners);
  const counters = carriedCounters(old, selector, partners);
  const compiled = keepToNamespace(compileBlueprint(blueprint, counters), options);
  const pins = beginChange(name);
  const held: { close(): void }[] = [];
  const hold = <T extends { close(): void }>(object: T): T => {
    held.push(object);
    return object;
  };
  // Compiling and loading take long: others may change the chain meanwhile, and then it is done again.
  const isOutdated = (): boolean => version(running.description) !== version(old);
  let lock: DirectoryLock | undefined;
  try {
    const carried = openCarried(from, old.layout, compiled, partners, hold);
    const host = openHostState(compiled.layout.state, compiled.maps, pins.directory);
    Object.values(host.maps).forEach(hold);
    const collection = hold(loadCollection(compiled, { ...host.maps, ...carried }));
    lock = lockChain(name);
    running.finishChange();
    if (isOutdated()) throw new OutdatedError();
    carryMembers(old.layout, compiled.layout, from, collection.maps);
    const kept = carriedWords(old, compiled.layout, actors, partners, running.words());
    const parameters = parametersValue(blueprint, compiled.layout, kept);
    if (parameters) collection.maps[parametersMap].update(onlyKey, parameters);
    seedState(
      withoutFilled(compiled.layout.state, host).filter(({ map }) => !(map in carried)),
      collection.maps,
    );
    const { links, attachments } = attachAll(blueprint, interfaces, from, running.attachments(), collection, hold);
    const history: CounterHistory = {
      base: countersMap in carried ? sumCounters(carried[countersMap].lookupPerCpu(onlyKey)!, old.layout) : [],
      totals: carriedTotals(running.counters(), selector, actors, partners),
    };
    const description = describe(blueprint, compiled, attachments, old, history);
    const about = hold(pinAll(pins.directory, collection, host, links, description));
    about.pin(`${pins.directory}/${changingPin}`);
    pins.commit();
  } catch (error) {
    pins.rollback();
    lock?.release();
    removeUnusedHostState();
    if (error instanceof OutdatedError || isOutdated()) return "outdated";
    throw error;
  } finally {
    for (const object of held.toReversed()) object.close();
  }
  try {
    running.finishChange();
    removeReplaced(name, pins.directory);
    removeUnusedHostState();
    return running;
  } finally {
    pins.release();
    lock.release();
  }
}

/** Leaves actors of a linked chain out, or lets them in again: its objects stay, and are pinned beside a new description. */
function relinkHere(draft: ChainDescription, running: RunningChain, partners: Continuity): RunningChain {
  const { name, layout, selector, actors } = draft;
  const old = running.description;
  const from = chainDirectory(name)!;
  const pins = beginChange(name);
  try {
    pinAgain(from, pins.directory);
    const base = running.withCounters((perCpu) => sumCounters(perCpu, layout));
    const history = { base, totals: carriedTotals(running.counters(), selector, actors, partners) };
    const about = pinDescription(pins.directory, { ...draft, layout: old.layout, history });
    try {
      about.pin(`${pins.directory}/${changingPin}`);
    } finally {
      about.close();
    }
    pins.commit();
  } catch (error) {
    pins.rollback();
    throw error;
  }
  try {
    running.finishChange();
    removeReplaced(name, pins.directory);
    return running;
  } finally {
    pins.release();
  }
}

/** Interfaces by name; those that the chain has and that are gone for now are left out. @throws NoSuchInterfaceError */
function findInterfaces(names: readonly string[], old: ChainDescription): Interface[] {
  return names.flatMap((name) => {
    try {
      return [{ name, index: interfaceIndex(name) }];
    } catch (error) {
      if (!(error instanceof NoSuchInterfaceError)) throw error;
      if (old.attachments.some((one) => one.interface === name)) return [];
      throw error;
    }
  });
}

/** The maps of the old chain that the new one goes on with. */
function openCarried(
  from: string,
  old: ChainLayout,
  { layout, maps }: CompiledChain,
  partners: Continuity,
  hold: (map: KernelMap) => KernelMap,
): Record<string, KernelMap> {
  const keys = Object.entries(carriedMaps(old, layout, partners));
  if (layout.counters.length === old.counters.length) keys.push([countersMap, countersMap]);
  const carried = Object.fromEntries(
    keys.filter(([key]) => key in maps).map(([key, before]) => [key, hold(openMap(`${from}/map_${before}`))]),
  );
  for (const [key, spec] of Object.entries(maps)) {
    if (!key.startsWith(foreignMapPrefix) || !existsSync(`${from}/map_${key}`)) continue;
    const map = hold(openMap(`${from}/map_${key}`));
    const isAlike = map.type === spec.type && map.keySize === spec.keySize && map.valueSize === spec.valueSize;
    if (isAlike) carried[key] = map;
  }
  return carried;
}

/**
 * Links for the new chain: the old ones where they are attached to the same place, else new ones. A new one has a program
 * that does nothing yet, so that all come into force together.
 */
function attachAll(
  { hooks, options }: Blueprint,
  interfaces: readonly Interface[],
  from: string,
  old: readonly Attachment[],
  { programs }: Collection,
  hold: <T extends KernelLink | KernelProgram>(object: T) => T,
): { links: KernelLink[]; attachments: Attachment[] } {
  const links: KernelLink[] = [];
  const attachments: Attachment[] = [];
  const add = (link: KernelLink, attachment: Attachment): void => {
    links.push(hold(link));
    attachments.push(attachment);
  };
  const inert = new Map<Hook, KernelProgram>();
  const inertFor = (hook: Hook): KernelProgram => {
    const program = inert.get(hook) ?? hold(loadInert(hook));
    inert.set(hook, program);
    return program;
  };
  for (const target of targetsOf(hooks, interfaces, options.cgroup)) {
    const { hook } = target;
    const before = isIterator(hook) ? undefined : old.find((one) => !one.gone && isAt(one, target));
    if (before) add(openLink(`${from}/${before.pin}`), before);
    else
      add(
        attach(isIterator(hook) ? programs[hook] : inertFor(hook), target, options.priority ?? 0),
        attachmentOf(target),
      );
  }
  // Of interfaces that are gone: kept, so that it is known where the chain belongs.
  for (const { gone, ...attachment } of old) {
    const isWanted = (options.interfaces ?? []).includes(attachment.interface ?? "") && hooks.includes(attachment.hook);
    const isBack = interfaces.some(({ name }) => name === attachment.interface);
    if (gone && isWanted && !isBack) add(openLink(`${from}/${attachment.pin}`), attachment);
  }
  return { links, attachments };
}

function isAt(attachment: Attachment, { hook, interface: one, cgroup }: Target): boolean {
  return attachment.hook === hook && attachment.interfaceIndex === one?.index && attachment.cgroup === cgroup;
}

/** @throws ParameterError, ChainError */
function checkControls({ actors }: Blueprint): void {
  for (const { policy, entry } of actors) {
    if (entry.disabled) continue;
    for (const [name, type, input] of completeInputs(policy, entry.inputs, new Set(Object.keys(entry.fromMember))))
      checkControl(type, input, `${policy.name}.${name}`);
  }
}

/** What the parameters map is to hold; undefined where no actor has any. `kept` are words that were set before. */
export function parametersValue(
  { actors }: Blueprint,
  { parameters }: ChainLayout,
  kept: ReadonlyMap<string, bigint> = new Map(),
  interfaceOf?: (name: string) => number,
): Uint8Array | undefined {
  if (parameters.length === 0) return undefined;
  // The first copy is in force.
  const words = new Uint8Array(parametersSize(parameterWords(parameters)));
  const view = new DataView(words.buffer);
  actors.forEach(({ policy, entry }, index) => {
    const fromMember = new Set(Object.keys(entry.fromMember));
    for (const [name, type, input] of completeInputs(policy, entry.inputs, fromMember)) {
      const { offset } = parameters.find((slot) => slot.actor === index && slot.name === name)!;
      const word = kept.get(parameterKey(index, name)) ?? readWord(type, input, `${policy.name}.${name}`, interfaceOf);
      writeParameter(view, offset, parameterSize(type), word);
    }
  });
  return words;
}

function describe(
  { name, options, source, selector, actors }: Blueprint,
  { layout }: Pick<CompiledChain, "layout">,
  attachments: readonly Attachment[],
  old?: ChainDescription,
  history?: CounterHistory,
): ChainDescription {
  const { interfaces, direction, hook, netns, cgroup, priority } = options;
  const now = new Date().toISOString();
  return {
    version: currentVersion,
    name,
    generation: (old?.generation ?? 0) + 1,
    options: {
      ...(interfaces && { interfaces }),
      ...(direction && { direction }),
      ...(hook && { hook }),
      ...(cgroup !== undefined && { cgroup }),
      ...(priority !== undefined && { priority }),
    },
    selector,
    actors: actors.map(({ description }) => description),
    attachments,
    ...(options.mode === "linked" && { mode: "linked", decision: numbered(source.selector) }),
    netns: old?.netns ?? { ...(netns !== undefined && { name: netns }), inode: netnsInode() },
    layout: {
      ...layout,
      parameters: layout.parameters.map((slot) => ({ ...slot, type: plainParameter(slot.type) })),
      sets: layout.sets.map(plainSet),
    },
    submitted: old?.submitted ?? now,
    ...(old && { changed: now }),
    ...(history && { history }),
  };
}

/** Pins everything a chain consists of. @returns the map with the description, open */
function pinAll(
  directory: string,
  { maps, programs }: Collection,
  host: HostState,
  links: readonly KernelLink[],
  description: ChainDescription,
): KernelMap {
  for (const [name, map] of Object.entries(maps)) if (!host.maps[name]) map.pin(`${directory}/map_${name}`);
  for (const hook of new Set(description.attachments.map((one) => one.hook)))
    programs[hook]?.pin(`${directory}/${programPin(hook)}`);
  description.attachments.forEach(({ pin }, i) => links[i].pin(`${directory}/${pin}`));
  return pinDescription(directory, description);
}

/** @returns the map with the description, open */
function pinDescription(directory: string, description: ChainDescription): KernelMap {
  const value = encodeDescription(description);
  const about = createMap({ name: "emptcp_about", type: "array", keySize: 4, valueSize: value.length, maxEntries: 1 });
  try {
    about.update(onlyKey, value);
    about.pin(`${directory}/${aboutPin}`);
  } catch (error) {
    about.close();
    throw error;
  }
  return about;
}
