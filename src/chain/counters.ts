/** A chain's counters, read from its map and arranged by sub-policy. */
import type { ChainLayout, CounterSlot } from "../compiler/index.ts";
import type { ActorDescription, SelectorDescription } from "./description.ts";

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

/** `perCpu` are the values of the counters map, one for each CPU. */
export function arrangeCounters(
  perCpu: readonly Uint8Array[],
  layout: ChainLayout,
  selector: SelectorDescription,
  actors: readonly ActorDescription[],
): ChainCounters {
  const views = perCpu.map((value) => new DataView(value.buffer, value.byteOffset, value.byteLength));
  const sums = layout.counters.map((_, i) =>
    Number(views.reduce((sum, view) => sum + view.getBigUint64(8 * i, true), 0n)),
  );
  const find = (wanted: (slot: CounterSlot) => boolean): number => sums[layout.counters.findIndex(wanted)] ?? 0;
  const seen = find(({ kind }) => kind === "seen");

  const selectors: SelectorCounters[] = [];
  // Evaluation stops as soon as it is decided, so what each selector was shown follows from what matched before it.
  const evaluate = (node: SelectorDescription, shown: number): number => {
    switch (node.op) {
      case "any":
        return shown;
      case "policy": {
        const index = selectors.length;
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
        for (const term of node.terms) left -= evaluate(term, left);
        return shown - left;
      }
    }
  };
  const matched = evaluate(selector, seen);
  const perActor = actors.map(({ name }, actor): ActorCounters => {
    const cannot = layout.counters.flatMap((slot, i) =>
      slot.kind === "cannot" && slot.actor === actor ? [[slot.reason, sums[i]] as const] : [],
    );
    return {
      name,
      seen: matched,
      acted: find((slot) => slot.kind === "acted" && slot.actor === actor),
      cannot: Object.fromEntries(cannot),
    };
  });
  const emits = layout.counters.some(({ kind }) => kind === "lostEvents");
  const lostEvents = emits && { lostEvents: find(({ kind }) => kind === "lostEvents") };
  return { seen, matched, selectors, actors: perActor, ...lostEvents };
}
