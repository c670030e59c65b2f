/**
 * How a chain's shared memory is laid out, so that programs of several hooks and whoever reads the maps agree: parameters
 * in one array map, counters in one per-CPU array map, each policy's state in maps of its own.
 */
import { integerSizes, type IntegerName } from "../policy/types.ts";
import type { ParameterType } from "../policy/types.ts";
import type { Policy } from "../policy/policy.ts";
import type { StateType } from "../policy/state.ts";
import type { MapSpec } from "../bpf/spec.ts";

/** Bytes of a flow's key: local and remote address (16 each, IPv4 mapped), local and remote port (host order), 4 zero bytes. */
export const flowKeySize = 40;

/** Names of the maps every chain has, as programs refer to them. */
export const parametersMap = "params";
export const countersMap = "counters";

/** A live parameter: a 64-bit word in the parameters map. */
export interface ParameterSlot {
  readonly actor: number;
  readonly name: string;
  readonly type: ParameterType;
  /** Bytes from the start of the map's only value. */
  readonly offset: number;
}

/** What a counter counts; its index is that of the 64-bit word in the counters map. */
export type CounterSlot =
  /** TCP packets, or sockets, that the chain was shown. */
  | { readonly kind: "seen" }
  | { readonly kind: "matched"; readonly selector: number }
  | { readonly kind: "acted"; readonly actor: number }
  | { readonly kind: "cannot"; readonly actor: number; readonly reason: string }
  /** Room for counters of later versions of the chain. */
  | { readonly kind: "unused" }
  /** Packets for which a linked chain missed a program, or whose headers a member had moved. */
  | { readonly kind: "lost" };

export interface StateField {
  readonly name: string;
  readonly type: IntegerName;
  readonly offset: number;
}

export interface StateSlot {
  readonly actor: number;
  readonly name: string;
  /** The key in a program's maps. */
  readonly map: string;
  readonly kind: StateType["kind"];
  readonly maxEntries: number;
  /** Bytes of one record. */
  readonly size: number;
  readonly fields: readonly StateField[];
  /** Fields that start with what the kernel knows of a running connection. */
  readonly seeds: StateType["seeds"];
}

export interface ChainLayout {
  readonly parameters: readonly ParameterSlot[];
  readonly counters: readonly CounterSlot[];
  readonly state: readonly StateSlot[];
}

/** The counters map has room for a multiple of so many: a chain that grows goes on counting in the same map. */
const counterRoom = 64;

/**
 * Lays out a chain: `selectors` and `actors` in the order of the chain, `reasons` what each actor may count with `cannot`.
 * @param given counters that have their place already, from an earlier version of the chain
 * @param linked whether the chain is one of programs, of which one could be missing
 */
export function layOut(
  selectors: number,
  actors: readonly Policy[],
  reasons: readonly (readonly string[])[],
  given: readonly CounterSlot[] = [],
  linked = false,
): ChainLayout {
  const parameters = actors.flatMap((actor, index) =>
    Object.entries(actor.params).map(([name, type]) => ({ actor: index, name, type })),
  );
  const counters: CounterSlot[] = [{ kind: "seen" }, ...(linked ? [{ kind: "lost" } as const] : [])];
  for (let selector = 0; selector < selectors; selector++) counters.push({ kind: "matched", selector });
  actors.forEach((_, actor) => {
    counters.push({ kind: "acted", actor });
    for (const reason of reasons[actor]) counters.push({ kind: "cannot", actor, reason });
  });
  const state = actors.flatMap((actor, index) =>
    Object.entries(actor.state).map(([name, type]) => stateSlot(index, name, type)),
  );
  return {
    parameters: parameters.map((slot, i) => ({ ...slot, offset: 8 * i })),
    counters: placeCounters(counters, given),
    state,
  };
}

export function sameCounter(a: CounterSlot, b: CounterSlot): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Gives each counter its place: the one it has, else one that is free, else one more. */
function placeCounters(wanted: readonly CounterSlot[], given: readonly CounterSlot[]): CounterSlot[] {
  const placed = given.map((slot): CounterSlot =>
    wanted.some((one) => sameCounter(one, slot)) ? slot : { kind: "unused" },
  );
  // What is in use until the chain is changed is still counted in: only what was free before is free.
  const free = given.flatMap(({ kind }, place) => (kind === "unused" ? [place] : []));
  for (const slot of wanted) {
    if (placed.some((one) => sameCounter(one, slot))) continue;
    placed[free.shift() ?? placed.length] = slot;
  }
  while (placed.length % counterRoom !== 0) placed.push({ kind: "unused" });
  return placed;
}

function stateSlot(actor: number, name: string, type: StateType): StateSlot {
  let size = 0;
  const fields = Object.entries(type.fields).map(([field, integer]): StateField => {
    const bytes = integerSizes[integer];
    const offset = Math.ceil(size / bytes) * bytes;
    size = offset + bytes;
    return { name: field, type: integer, offset };
  });
  return {
    actor,
    name,
    map: `state${actor}_${name}`,
    kind: type.kind,
    maxEntries: type.maxEntries,
    size: Math.ceil(size / 8) * 8,
    fields,
    seeds: type.seeds,
  };
}

/** The maps of a chain. */
export function mapsOf(layout: ChainLayout): Record<string, MapSpec> {
  const array = { keySize: 4, maxEntries: 1 } as const;
  const maps: Record<string, MapSpec> = {
    [countersMap]: { name: "emptcp_counters", type: "perCpuArray", ...array, valueSize: 8 * layout.counters.length },
  };
  if (layout.parameters.length > 0)
    maps[parametersMap] = { name: "emptcp_params", type: "array", ...array, valueSize: 8 * layout.parameters.length };
  for (const slot of layout.state) {
    const name = `em_${slot.name}`.slice(0, 15);
    maps[slot.map] =
      slot.kind === "shared"
        ? { name, type: "array", ...array, valueSize: slot.size }
        : { name, type: "lruHash", keySize: flowKeySize, valueSize: slot.size, maxEntries: slot.maxEntries };
  }
  return maps;
}
