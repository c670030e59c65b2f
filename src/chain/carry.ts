/** What of a running chain lives on in the one that takes its place: counters, state, parameters that were set. Pure. */
import type { ChainLayout, CounterSlot, SetField, SetSlot, StateOwner, StateSlot } from "../compiler/index.ts";
import { describeShape, eventsMap } from "../compiler/layout.ts";
import type { ChainCounters } from "./counters.ts";
import { selectorsIn, type ActorDescription, type ChainDescription, type SelectorDescription } from "./description.ts";
import type { InputRecord } from "./inputs.ts";

/** A policy of a chain: what makes it the same one, what it was given, and which one it was before, if that is known. */
interface Candidate {
  readonly identity: string;
  readonly inputs: InputRecord;
  readonly origin?: number | undefined;
}

/** For each policy of the new chain the index of the old one that goes on in it. */
export type Partners = readonly (number | undefined)[];

export function matchPolicies(old: readonly Candidate[], next: readonly Candidate[]): Partners {
  const partners: (number | undefined)[] = next.map(() => undefined);
  const taken = new Set<number>();
  const pass = (fits: (one: Candidate, other: Candidate, index: number) => boolean): void => {
    next.forEach((one, i) => {
      if (partners[i] !== undefined) return;
      const found = old.findIndex(
        (other, index) => !taken.has(index) && other.identity === one.identity && fits(one, other, index),
      );
      if (found < 0) return;
      partners[i] = found;
      taken.add(found);
    });
  };
  pass(({ origin }, _, index) => origin === index);
  pass((one, other) => one.origin === undefined && sameInputs(one.inputs, other.inputs));
  pass(({ origin }) => origin === undefined);
  return partners;
}

function sameInputs(a: InputRecord, b: InputRecord): boolean {
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])];
  return names.every((name) => a[name] === b[name]);
}

/** Actors are the same when they are the same policy; what they were given may differ. */
export function matchActors(
  old: readonly ActorDescription[],
  next: readonly (ActorDescription & { readonly origin?: number | undefined })[],
): Partners {
  return matchPolicies(old.map(actorCandidate), next.map(actorCandidate));
}

function actorCandidate(actor: ActorDescription & { readonly origin?: number | undefined }): Candidate {
  const { name, given, origin } = actor;
  return { identity: `${name} ${given.file ?? ""}`, inputs: given.inputs, origin };
}

/** Selectors are the same when they are the same policy with the same constants. */
export function matchSelectors(
  old: SelectorDescription,
  next: SelectorDescription,
  origins: readonly (number | undefined)[],
): Partners {
  return matchPolicies(selectorCandidates(old), selectorCandidates(next, origins));
}

function selectorCandidates(node: SelectorDescription, origins?: readonly (number | undefined)[]): Candidate[] {
  return selectorsIn(node).map(({ name, file, inputs, params, set }, i) => ({
    identity: `${name} ${file ?? ""} ${set ?? ""} ${JSON.stringify(Object.entries(params).sort(([a], [b]) => a.localeCompare(b)))}`,
    inputs,
    origin: origins?.[i],
  }));
}

export interface Continuity {
  readonly selectors: Partners;
  readonly actors: Partners;
}

/** The places of counters in the old chain, by what they count in the new one; what ends keeps its place until then. */
export function carriedCounters(
  old: ChainDescription,
  next: SelectorDescription,
  { selectors, actors }: Continuity,
): CounterSlot[] {
  const oldSelectors = enabledIndices(old.selector);
  const newSelectors = enabledIndices(next);
  const ended = -1;
  return old.layout.counters.map((slot): CounterSlot => {
    switch (slot.kind) {
      case "matched": {
        const all = selectors.indexOf(oldSelectors[slot.selector]);
        return { ...slot, selector: all < 0 ? ended : newSelectors.indexOf(all) };
      }
      case "acted":
      case "cannot":
        return { ...slot, actor: actors.indexOf(slot.actor) };
      default:
        return slot;
    }
  });
}

/** The compiled selectors, which are those not disabled, by their number among all. */
function enabledIndices(selector: SelectorDescription): number[] {
  return selectorsIn(selector).flatMap(({ disabled }, i) => (disabled ? [] : [i]));
}

/** What the old chain counted, arranged as the new one's counters. */
export function carriedTotals(
  old: ChainCounters,
  next: SelectorDescription,
  actors: readonly ActorDescription[],
  partners: Continuity,
): ChainCounters {
  return {
    seen: old.seen,
    matched: old.matched,
    ...(old.lostEvents !== undefined && { lostEvents: old.lostEvents }),
    selectors: selectorsIn(next).map(({ name }, i) => {
      const partner = partners.selectors[i];
      return partner === undefined ? { name, seen: 0, matched: 0 } : old.selectors[partner];
    }),
    actors: actors.map(({ name }, i) => {
      const partner = partners.actors[i];
      return partner === undefined ? { name, seen: 0, acted: 0, cannot: {} } : old.actors[partner];
    }),
  };
}

/**
 * Maps of the new chain that are maps of the old one, by the new map's key: state of the same policy, of the same name and
 * shape; sets of the same name and shape; what readers of events are reading.
 */
export function carriedMaps(old: ChainLayout, next: ChainLayout, partners: Continuity): Record<string, string> {
  const state = next.state.flatMap((slot) => {
    if (slot.host !== undefined || slot.kind === "perPacket") return [];
    const before = old.state.find(
      (one) => one.owners.some((owner) => isPartner(owner, slot, partners)) && sameShape(one, slot),
    );
    return before ? [[slot.map, before.map]] : [];
  });
  const sets = next.sets.flatMap((slot) => {
    const before = old.sets.find((one) => one.map === slot.map && setShape(one) === setShape(slot));
    return before ? [[slot.map, before.map]] : [];
  });
  const events = JSON.stringify(old.events) === JSON.stringify(next.events) ? [[eventsMap, eventsMap]] : [];
  return Object.fromEntries([...state, ...sets, ...events]) as Record<string, string>;
}

function isPartner(old: StateOwner, { owners }: StateSlot, partners: Continuity): boolean {
  return owners.some(({ kind, name, index }) => {
    const partner = (kind === "actor" ? partners.actors : partners.selectors)[index];
    return kind === old.kind && name === old.name && partner === old.index;
  });
}

function sameShape(a: StateSlot, b: StateSlot): boolean {
  return a.maxEntries === b.maxEntries && describeShape(a) === describeShape(b);
}

function setShape(slot: SetSlot): string {
  return `${slot.maxEntries} ${memberShape(slot)}`;
}

/** What members of two sets have to have in common to be members of both. */
export function memberShape({ selector, kind, key, params }: SetSlot): string {
  return JSON.stringify([selector, kind, key.map(fieldShape), params.map(fieldShape)]);
}

function fieldShape({ name, type, offset }: SetField): unknown[] {
  return [name, type.representation, offset];
}

/**
 * The words of parameters that were set while the old chain ran and that the new one does not change: those for which both
 * were given the same. By actor of the new chain and name.
 * @param words of the old chain now
 */
export function carriedWords(
  old: ChainDescription,
  next: ChainLayout,
  actors: readonly ActorDescription[],
  partners: Continuity,
  words: readonly bigint[],
): Map<string, bigint> {
  const kept = new Map<string, bigint>();
  for (const slot of next.parameters) {
    const partner = partners.actors[slot.actor];
    if (partner === undefined) continue;
    const index = old.layout.parameters.findIndex((one) => one.actor === partner && one.name === slot.name);
    const before = old.layout.parameters[index];
    const same = old.actors[partner].given.inputs[slot.name] === actors[slot.actor].given.inputs[slot.name];
    if (!before || !same || JSON.stringify(before.type.representation) !== JSON.stringify(slot.type.representation))
      continue;
    kept.set(parameterKey(slot.actor, slot.name), words[index]);
  }
  return kept;
}

export const parameterKey = (actor: number, name: string): string => `${actor}.${name}`;
