/** Bringing a compiled actor into the kernel's stack: a new one, or one that takes a registered one's place. */
import type { MapSpec, ProgramSpec, StructOpsSpec } from "../bpf/spec.ts";
import { describeShape, type ChainLayout } from "../compiler/layout.ts";
import { openHostState, removeUnusedHostState } from "../chain/host-state.ts";
import { aboutPin, changingPin } from "../chain/pins.ts";
import {
  availableCongestionControls,
  createMap,
  createStructOps,
  KernelError,
  loadCollection,
  openLink,
  openMap,
  registerStructOps,
  startTimeOf,
  type DirectoryLock,
  type KernelMap,
} from "../linux/index.ts";
import type { Base } from "../policy/stack.ts";
import { cleanUpStack } from "./actors.ts";
import { currentVersion, encodeDescription, type StackDescription } from "./description.ts";
import { InStackError, InStackExistsError } from "./errors.ts";
import type { Moved } from "./move.ts";
import { RunningInStack } from "./running.ts";
import { checkStackName, linkPin, operationsPin, stackStore } from "./store.ts";

/** A compiled actor. */
export interface StackPlan {
  readonly policy: string;
  /** The module that defines it; absent for built-in ones. */
  readonly file?: string;
  /** Of congestion control. */
  readonly base?: Base;
  readonly schedules?: true;
  /** What the policy defines, as it calls them. */
  readonly defined: readonly string[];
  readonly programs: Readonly<Record<string, ProgramSpec>>;
  readonly maps: Readonly<Record<string, MapSpec>>;
  readonly layout: ChainLayout;
  readonly structOps: StructOpsSpec;
}

/** Kernel objects that are closed together, the last first. */
class Held implements Disposable {
  readonly #objects: { close(): void }[] = [];

  hold<T extends { close(): void }>(object: T): T {
    this.#objects.push(object);
    return object;
  }

  [Symbol.dispose](): void {
    for (const object of this.#objects.splice(0).toReversed()) object.close();
  }
}

/** Registers a plan under a name, or nothing. @throws as `registerInStack` */
export function install(name: string, plan: () => StackPlan, stays: boolean): RunningInStack {
  checkStackName(name);
  cleanUpStack();
  // Before anything is made: a name that is taken should not cost a compilation.
  if (availableCongestionControls().includes(name)) throw taken(name);
  const compiled = plan();
  const pins = stackStore.begin(name);
  try {
    using held = new Held();
    const operations = makeObjects(compiled, pins.directory, {}, held);
    const description = describe(compiled, { name, stays, moves: true });
    pinDescription(pins.directory, description, held);
    // The last thing: a process that is killed before has registered nothing.
    held.hold(register(operations, name)).pin(`${pins.directory}/${linkPin}`);
    return new RunningInStack(pins.commit(), description);
  } catch (error) {
    pins.rollback();
    removeUnusedHostState();
    throw error;
  }
}

const taken = (name: string): InStackExistsError =>
  new InStackExistsError(name, stackStore.directory(name) ? "ours" : "kernel");

function register(operations: KernelMap, name: string) {
  try {
    return registerStructOps(operations);
  } catch (error) {
    if (error instanceof KernelError && error.code === "EEXIST") throw taken(name);
    throw error;
  }
}

/** Makes and pins a plan's maps, programs and operations. @returns the map with the operations */
function makeObjects(
  plan: StackPlan,
  directory: string,
  carried: Readonly<Record<string, KernelMap>>,
  held: Held,
): KernelMap {
  const host = openHostState(plan.layout.state, plan.maps, directory);
  for (const map of Object.values(host.maps)) held.hold(map);
  const { maps, programs } = held.hold(loadCollection(plan, { ...host.maps, ...carried }));
  const operations = held.hold(createStructOps(plan.structOps, programs));
  for (const [key, map] of Object.entries(maps)) if (!host.maps[key]) map.pin(`${directory}/map_${key}`);
  operations.pin(`${directory}/${operationsPin}`);
  return operations;
}

/** @returns the map with the description */
function pinDescription(directory: string, description: StackDescription, held: Held): KernelMap {
  const value = encodeDescription(description);
  const spec = { name: "emptcp_about", type: "array", keySize: 4, valueSize: value.length, maxEntries: 1 } as const;
  const about = held.hold(createMap(spec));
  about.update(new Uint8Array(4), value);
  about.pin(`${directory}/${aboutPin}`);
  return about;
}

function describe(
  { policy, file, base, schedules, defined, layout }: StackPlan,
  { name, stays, moves }: Pick<StackDescription, "name" | "stays" | "moves">,
  old?: StackDescription,
): StackDescription {
  const now = new Date().toISOString();
  return {
    version: currentVersion,
    name,
    policy,
    ...(file !== undefined && { file }),
    ...(base !== undefined && { base }),
    ...(schedules && { schedules }),
    operations: defined,
    layout,
    generation: (old?.generation ?? 0) + 1,
    owner: old?.owner ?? { pid: process.pid, started: startTimeOf(process.pid)! },
    stays,
    moves,
    registered: old?.registered ?? now,
    ...(old && { changed: now }),
  };
}

/** It was changed while its replacement was made. */
class OutdatedError extends Error {}

/**
 * Puts a plan in the place of a registered actor.
 * @param move whether running sockets are moved to it
 * @throws as `RunningInStack.replace`
 */
export function replace(running: RunningInStack, plan: (old: StackDescription) => StackPlan, move: boolean): Moved {
  for (;;) {
    try {
      return tryReplace(running, plan, move);
    } catch (error) {
      // Another process was faster: what it left is replaced all the same.
      if (!(error instanceof OutdatedError)) throw error;
    }
  }
}

function tryReplace(running: RunningInStack, plan: (old: StackDescription) => StackPlan, move: boolean): Moved {
  const old = running.expectChangeable();
  const { name } = old;
  const compiled = plan(old);
  const pins = stackStore.beginChange(name);
  let lock: DirectoryLock | undefined;
  let committed = false;
  try {
    using held = new Held();
    const carried = openCarried(running.directory, old, compiled, held);
    makeObjects(compiled, pins.directory, carried, held);
    // Compiling and loading take long: others may have changed it meanwhile.
    lock = stackStore.lock(name);
    running.finishChange();
    if (running.description.generation !== old.generation) throw new OutdatedError();
    if (!running.isRegistered())
      throw new InStackError(
        `Cannot replace ${name} in the stack: somebody has detached its link. ` +
          `Stop it (emptcp stack stop ${name}) and start it again`,
      );
    const about = pinDescription(pins.directory, describe(compiled, { ...old, moves: move }, old), held);
    held.hold(openLink(`${running.directory}/${linkPin}`)).pin(`${pins.directory}/${linkPin}`);
    about.pin(`${pins.directory}/${changingPin}`);
    pins.commit();
    committed = true;
    const moved = running.finishChange();
    stackStore.removeReplaced(name, pins.directory);
    return moved;
  } catch (error) {
    // What was exchanged is exchanged back: sockets are under the old one, or their next ACKs do what the new one says.
    if (committed) pins.commit();
    pins.rollback();
    throw error;
  } finally {
    pins.release();
    lock?.release();
    removeUnusedHostState();
  }
}

/** Maps of the old actor that the new one goes on with: of state that both keep alike. */
function openCarried(from: string, old: StackDescription, plan: StackPlan, held: Held): Record<string, KernelMap> {
  if (old.policy !== plan.policy) return {};
  const alike = plan.layout.state.filter(
    (slot) =>
      slot.host === undefined &&
      old.layout.state.some((before) => before.map === slot.map && describeShape(before) === describeShape(slot)),
  );
  return Object.fromEntries(alike.map(({ map }) => [map, held.hold(openMap(`${from}/map_${map}`))]));
}
