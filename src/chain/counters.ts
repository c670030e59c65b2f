/** A chain's counters, read from its map and arranged by sub-policy. */
import type { ChainLayout, CounterSlot } from "../compiler/index.ts";
import { selectorsIn, type ActorDescription, type CounterHistory, type SelectorDescription } from "./description.ts";

export interface SelectorCounters {
  readonly name: string;
  /** Packets the selector was asked about: those before it in the expression had not decided. */
  readonly seen: number;
  readonly matched: number;
}

export interface ActorCounters {
  readonly name: string;
  readonly seen: number;
  /** Packets, or sockets, that the actor changed or whose state it kept. */
  readonly acted: number;
  /** Why it could not act, and how often. */
  readonly cannot: Readonly<Record<string, number>>;
}

export interface ChainCounters {
  /** TCP packets, or sockets, that the chain was shown. */
  readonly seen: number;
  readonly matched: number;
  readonly selectors: readonly SelectorCounters[];
  readonly actors: readonly ActorCounters[];
  /** Events for which there was no room; for chains that emit any. */
  readonly lostEvents?: number;
}

/** The sum of each counter over the CPUs. */
export function sumCounters(perCpu: readonly Uint8Array[], layout: ChainLayout): number[] {
  const views = perCpu.map((value) => new DataView(value.buffer, value.byteOffset, value.byteLength));
  return layout.counters.map((_, i) => Number(views.reduce((sum, view) => sum + view.getBigUint64(8 * i, true), 0n)));
}

/**
 * `perCpu` are the values of the counters map, one for each CPU; `history` what was counted before the chain became what
 * it is.
 */
export function arrangeCounters(
  perCpu: readonly Uint8Array[],
  layout: ChainLayout,
  selector: SelectorDescription,
  actors: readonly Pick<ActorDescription, "name" | "disabled">[],
  history?: CounterHistory,
): ChainCounters {
  // Never below 0: the last packets before a change are counted by what was before, the first ones after it not.
  const sums = sumCounters(perCpu, layout).map((sum, i) => Math.max(0, sum - (history?.base[i] ?? 0)));
  const now = arrangeSums(sums, layout, selector, actors);
  return history ? addCounters(history.totals, now) : now;
}

function addCounters(before: ChainCounters, now: ChainCounters): ChainCounters {
  return {
    seen: before.seen + now.seen,
    matched: before.matched + now.matched,
    ...(now.lostEvents !== undefined && { lostEvents: (before.lostEvents ?? 0) + now.lostEvents }),
    selectors: now.selectors.map((row, i) => ({
      name: row.name,
      seen: before.selectors[i].seen + row.seen,
      matched: before.selectors[i].matched + row.matched,
    })),
    actors: now.actors.map((row, i) => ({
      name: row.name,
      seen: before.actors[i].seen + row.seen,
      acted: before.actors[i].acted + row.acted,
      cannot: Object.fromEntries(
        Object.entries(row.cannot).map(([reason, count]) => [reason, (before.actors[i].cannot[reason] ?? 0) + count]),
      ),
    })),
  };
}

function arrangeSums(
  sums: readonly number[],
  layout: ChainLayout,
  selector: SelectorDescription,
  actors: readonly Pick<ActorDescription, "name" | "disabled">[],
): ChainCounters {
  const find = (wanted: (slot: CounterSlot) => boolean): number => sums[layout.counters.findIndex(wanted)] ?? 0;
  const seen = find(({ kind }) => kind === "seen");

  const selectors: SelectorCounters[] = [];
  // Evaluation stops as soon as it is decided, so what each selector was shown follows from what matched before it.
  let compiled = 0;
  const evaluate = (node: SelectorDescription, shown: number): number => {
    if (isOff(node)) {
      for (const { name } of selectorsIn(node)) selectors.push({ name, seen: 0, matched: 0 });
      return shown;
    }
    switch (node.op) {
      case "any":
        return shown;
      case "policy": {
        const index = compiled++;
        const matched = find((slot) => slot.kind === "matched" && slot.selector === index);
        selectors.push({ name: node.name, seen: shown, matched });
        return matched;
      }
      case "not":
        return shown - evaluate(node.term, shown);
      case "and":
        return node.terms.reduce((left, term) => evaluate(term, left), shown);
      case "or": {
        let left = shown;
        for (const term of node.terms) left -= isOff(term) ? evaluate(term, 0) : evaluate(term, left);
        return shown - Math.max(0, left);
      }
    }
  };
  const matched = evaluate(selector, seen);
  const perActor = actors.map(({ name, disabled }, actor): ActorCounters => {
    const cannot = layout.counters.flatMap((slot, i) =>
      slot.kind === "cannot" && slot.actor === actor ? [[slot.reason, sums[i]] as const] : [],
    );
    return {
      name,
      seen: disabled ? 0 : matched,
      acted: find((slot) => slot.kind === "acted" && slot.actor === actor),
      cannot: Object.fromEntries(cannot),
    };
  });
  const emits = layout.counters.some(({ kind }) => kind === "lostEvents");
  const lostEvents = emits && { lostEvents: find(({ kind }) => kind === "lostEvents") };
  return { seen, matched, selectors, actors: perActor, ...lostEvents };
}

/** Whether all selectors of an expression are disabled, so that it is as if it were not there. */
function isOff(node: SelectorDescription): boolean {
  const policies = selectorsIn(node);
  return policies.length > 0 && policies.every(({ disabled }) => disabled);
}
