/**
 * How a chain's shared memory is laid out, so that programs of several hooks and whoever reads the maps agree: parameters
 * in one array map, counters in one per-CPU array map, each policy's state in maps of its own.
 */
import type { ParameterType } from "../policy/types.ts";
import type { Policy } from "../policy/policy.ts";
import type { MapSpec } from "../bpf/spec.ts";
import { eventsMap, eventsSize, layOutEvent, type DeclaredEvent, type EventSlot } from "./event-layout.ts";
import { parametersSize, parameterWords, placeParameters } from "./parameters-layout.ts";
import { setMap, type SetSlot } from "./sets.ts";
import { layOutState, stateMap, type StateSlot } from "./state-layout.ts";

export * from "./event-layout.ts";
export * from "./parameters-layout.ts";
export * from "./state-layout.ts";

/** Names of the maps every chain has, as programs refer to them. */
export const parametersMap = "params";
export const countersMap = "counters";

/** A live parameter: one 64-bit word in the parameters map, or several. */
export interface ParameterSlot {
  readonly actor: number;
  readonly name: string;
  readonly type: ParameterType;
  /** Bytes from the start of the map's only value, or of each copy there. */
  readonly offset: number;
}

/** What a counter counts; its index is that of the 64-bit word in the counters map. */
export type CounterSlot =
  /** TCP packets, or sockets, that the chain was shown. */
  | { readonly kind: "seen" }
  | { readonly kind: "matched"; readonly selector: number }
  | { readonly kind: "acted"; readonly actor: number }
  | { readonly kind: "cannot"; readonly actor: number; readonly reason: string }
  /** Events for which the ring buffer had no room; in chains that emit any. */
  | { readonly kind: "lostEvents" }
  /** Packets for which a linked chain missed a program, or whose headers a member had moved. */
  | { readonly kind: "lost" }
  /** Room for counters of later versions of the chain. */
  | { readonly kind: "unused" };

/** An actor's parameter that comes from the member matched. */
export interface MemberParameterSlot {
  readonly actor: number;
  readonly name: string;
  readonly set: string;
  readonly field: string;
}

export interface ChainLayout {
  readonly parameters: readonly ParameterSlot[];
  readonly counters: readonly CounterSlot[];
  readonly state: readonly StateSlot[];
  /** By the number that records of the events map carry. */
  readonly events: readonly EventSlot[];
  readonly sets: readonly SetSlot[];
  /** Parameters that come from the member of a set instead of the parameters map. */
  readonly memberParameters: readonly MemberParameterSlot[];
}

/** The counters map has room for a multiple of so many: a chain that grows goes on counting in the same map. */
const counterRoom = 64;

/**
 * Lays out a chain: `selectors` and `actors` in the order of the chain, `reasons` what each actor may count with `cannot`,
 * `events` what any of the policies emits.
 * @param given counters that have their place already, from an earlier version of the chain
 * @param linked whether the chain is one of programs, of which one could be missing
 */
export function layOut(
  selectors: readonly Policy[],
  actors: readonly Policy[],
  reasons: readonly (readonly string[])[],
  events: readonly DeclaredEvent[],
  given: readonly CounterSlot[] = [],
  linked = false,
): ChainLayout {
  const parameters = actors.flatMap((actor, index) =>
    Object.entries(actor.params).map(([name, type]) => ({ actor: index, name, type })),
  );
  const counters: CounterSlot[] = [{ kind: "seen" }, ...(linked ? [{ kind: "lost" } as const] : [])];
  selectors.forEach((_, selector) => counters.push({ kind: "matched", selector }));
  actors.forEach((_, actor) => {
    counters.push({ kind: "acted", actor });
    for (const reason of reasons[actor]) counters.push({ kind: "cannot", actor, reason });
  });
  if (events.length > 0) counters.push({ kind: "lostEvents" });
  return {
    parameters: placeParameters(parameters),
    counters: placeCounters(counters, given),
    state: layOutState(selectors, actors),
    events: events.map(layOutEvent),
    sets: [],
    memberParameters: [],
  };
}

/** The layout of a chain with sets: parameters that their members bring along have no place in the parameters map. */
export function withSets(
  layout: ChainLayout,
  sets: readonly SetSlot[],
  memberParameters: readonly MemberParameterSlot[],
): ChainLayout {
  const parameters = layout.parameters.filter(
    ({ actor, name }) => !memberParameters.some((slot) => slot.actor === actor && slot.name === name),
  );
  return { ...layout, parameters: placeParameters(parameters), sets, memberParameters };
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

/** The maps of a chain. */
export function mapsOf(layout: ChainLayout): Record<string, MapSpec> {
  const array = { keySize: 4, maxEntries: 1 } as const;
  const maps: Record<string, MapSpec> = {
    [countersMap]: { name: "emptcp_counters", type: "perCpuArray", ...array, valueSize: 8 * layout.counters.length },
  };
  if (layout.parameters.length > 0)
    maps[parametersMap] = {
      name: "emptcp_params",
      type: "array",
      ...array,
      valueSize: parametersSize(parameterWords(layout.parameters)),
    };
  if (layout.events.length > 0)
    maps[eventsMap] = { name: "emptcp_events", type: "ringBuffer", keySize: 0, valueSize: 0, maxEntries: eventsSize };
  for (const slot of layout.sets) maps[slot.map] = setMap(slot);
  for (const slot of layout.state) {
    const spec = stateMap(slot);
    if (spec) maps[slot.map] = spec;
  }
  return maps;
}
