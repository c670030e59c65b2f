/**
 * State that all chains of the host and the actors in its stack share: a directory each in `emptcp/shared`, with the map and
 * a description of its records. Who uses one has a pin of the same map among its own; what nobody has a pin of is removed. Whoever
 * makes or opens one pins it first and looks then whether it still is in place; whoever removes one takes it out of its
 * place first and looks then whether somebody has pinned it: one of the two sees the other.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, unlinkSync } from "node:fs";
import type { MapSpec } from "../bpf/spec.ts";
import { describeShape, type StateSlot } from "../compiler/layout.ts";
import { createMap, ensurePinDirectory, findBpffs, openMap, startTimeOf, type KernelMap } from "../linux/index.ts";
import { ChainError } from "./errors.ts";
import { aboutPin, chainsFolder, inFolder, makingFolder, removePins, sharedFolder, stackFolder } from "./pins.ts";

const onlyKey = new Uint8Array(4);
const mapPin = "map";
/** Attempts at getting hold of a map that others make and remove meanwhile. */
const attempts = 50;
const pauseMs = 5;

export interface HostState {
  /** By the key in the chain's programs. */
  readonly maps: Readonly<Record<string, KernelMap>>;
  /** Those that were not there before, to be filled with what the kernel knows. */
  readonly made: ReadonlySet<string>;
}

/**
 * Opens the host-wide state of a chain, or makes it, and pins it in the chain's directory.
 * @param specs the chain's maps by their key
 * @throws ChainError when another chain has state of that name whose records are others; KernelError
 */
export function openHostState(
  slots: readonly StateSlot[],
  specs: Readonly<Record<string, MapSpec>>,
  directory: string,
): HostState {
  const maps: Record<string, KernelMap> = {};
  const made = new Set<string>();
  try {
    for (const slot of slots) {
      if (slot.host === undefined) continue;
      const { map, isNew } = openOne(slot, specs[slot.map], `${directory}/map_${slot.map}`);
      maps[slot.map] = map;
      if (isNew) made.add(slot.map);
    }
  } catch (error) {
    for (const map of Object.values(maps)) map.close();
    throw error;
  }
  return { maps, made };
}

function openOne(slot: StateSlot, spec: MapSpec, pin: string): { map: KernelMap; isNew: boolean } {
  for (let attempt = 0; attempt < attempts; attempt++) {
    if (attempt > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pauseMs);
    const path = `${ensurePinDirectory(sharedFolder)}/${slot.host!}`;
    const isNew = !existsSync(path);
    const map = isNew ? make(slot, spec, path, pin) : open(slot, path, pin);
    if (!map) continue;
    if (isInPlace(map, path)) return { map, isNew };
    unlinkSync(pin);
    map.close();
  }
  throw new ChainError(`Cannot open state ${slot.host!} of the host: other processes make and remove it all the time`);
}

/** Opens what is there; undefined when it vanishes meanwhile. */
function open(slot: StateSlot, path: string, pin: string): KernelMap | undefined {
  let map: KernelMap | undefined;
  try {
    checkShape(slot, path);
    map = openMap(`${path}/${mapPin}`);
    map.pin(pin);
    return map;
  } catch (error) {
    map?.close();
    if (existsSync(path)) throw error;
    return undefined;
  }
}

/** Makes a new one and moves it into place; undefined when another process was faster. */
function make(slot: StateSlot, spec: MapSpec, path: string, pin: string): KernelMap | undefined {
  const draft = inFolder(makingFolder, (folder) => {
    mkdirSync(`${folder}/${ownName(slot.host!)}`, { mode: 0o700 });
    return `${folder}/${ownName(slot.host!)}`;
  });
  const map = createMap(spec);
  try {
    map.pin(`${draft}/${mapPin}`);
    describe(slot, `${draft}/${aboutPin}`);
    map.pin(pin);
    renameSync(draft, path);
    return map;
  } catch (error) {
    map.close();
    if (existsSync(pin)) unlinkSync(pin);
    removePins(draft);
    // ENOENT: whoever removed the last one tidied the folder away.
    if (existsSync(path) || (error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** A directory that is removed when this process ends before it has done so itself; not made yet. */
const ownName = (name: string): string => `${process.pid}-${startTimeOf(process.pid)}-host_${name}`;

function describe(slot: StateSlot, pin: string): void {
  const value = new TextEncoder().encode(JSON.stringify(slot));
  using about = createMap({ name: "emptcp_about", type: "array", keySize: 4, valueSize: value.length, maxEntries: 1 });
  about.update(onlyKey, value);
  about.pin(pin);
}

function readSlot(path: string): StateSlot {
  using about = openMap(`${path}/${aboutPin}`);
  return JSON.parse(new TextDecoder().decode(about.lookup(onlyKey))) as StateSlot;
}

function checkShape(slot: StateSlot, path: string): void {
  const other = readSlot(path);
  if (describeShape(other) === describeShape(slot)) return;
  throw new ChainError(
    `Cannot share state ${slot.host!} with the rest of the host: others keep ${describeShape(other)}; ` +
      `this one wants ${describeShape(slot)}. Declare it alike, choose another name, or remove those who use it`,
  );
}

function isInPlace(map: KernelMap, path: string): boolean {
  try {
    using there = openMap(`${path}/${mapPin}`);
    return there.info().id === map.info().id;
  } catch (error) {
    if (existsSync(path)) throw error;
    return false;
  }
}

/** State but for what was there already, with what other chains learnt. */
export function withoutFilled(slots: readonly StateSlot[], { maps, made }: HostState): StateSlot[] {
  return slots.filter(({ map }) => !maps[map] || made.has(map));
}

/** The names of all host-wide state that is there. */
export function hostStateNames(): string[] {
  const root = findBpffs();
  const folder = root && `${root}/${sharedFolder}`;
  return folder && existsSync(folder) ? readdirSync(folder).sort() : [];
}

/** Host-wide state of the host, with what its records hold; undefined when nobody uses it. */
export function openSharedState(name: string): { readonly map: KernelMap; readonly slot: StateSlot } | undefined {
  const path = `${findBpffs()}/${sharedFolder}/${name}`;
  if (!hostStateNames().includes(name)) return undefined;
  try {
    const slot = readSlot(path);
    return { slot, map: openMap(`${path}/${mapPin}`) };
  } catch (error) {
    if (existsSync(path)) throw error;
    return undefined;
  }
}

/** The names of the host-wide state that nobody uses. */
export function unusedHostState(): string[] {
  return hostStateNames().filter((name) => !isUsed(findBpffs()!, name));
}

/** Removes the host-wide state that nobody uses. @returns its names */
export function removeUnusedHostState(): string[] {
  return unusedHostState().filter((name) => {
    const root = findBpffs()!;
    const path = `${root}/${sharedFolder}/${name}`;
    const hidden = `${ensurePinDirectory(makingFolder)}/${ownName(name)}`;
    try {
      renameSync(path, hidden);
    } catch {
      // Another process was faster.
      return false;
    }
    if (isUsed(root, name) && !existsSync(path)) renameSync(hidden, path);
    else removePins(hidden);
    return true;
  });
}

/** Whether a chain or an actor in the stack, also one that is being made, has a pin of it. */
function isUsed(root: string, name: string): boolean {
  return [chainsFolder, stackFolder, makingFolder].some((folder) => {
    const path = `${root}/${folder}`;
    return existsSync(path) && readdirSync(path).some((entry) => existsSync(`${path}/${entry}/map_host_${name}`));
  });
}
