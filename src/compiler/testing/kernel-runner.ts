/** The kernel's side of the policy tests: the same chain under BPF_PROG_TEST_RUN. */
import type { InputRecord } from "../../chain/inputs.ts";
import { decodeEvent, type ChainEvent } from "../../chain/events.ts";
import { sumRecords } from "../../chain/state.ts";
import { loadCollection, readRingBuffer, testRun, type Collection } from "../../linux/index.ts";
import { countersMap, eventsMap, parametersMap, type ChainLayout, type Hook, type StateSlot } from "../index.ts";
import {
  changedRecords,
  kept,
  onlyKey,
  readCounters,
  readState,
  verdictOf,
  type ChainUnderTest,
  type Counters,
  type Outcome,
  type RawEntry,
  type Runner,
  type StateEntry,
} from "./policy-harness.ts";

export class KernelRunner implements Runner, Disposable {
  readonly #chain: ChainUnderTest;
  readonly #targets: readonly Hook[];
  readonly #layout: ChainLayout;
  readonly #collection: Collection;

  constructor(chain: ChainUnderTest, ...targets: readonly Hook[]) {
    const { layout, maps, programs, programArrays } = chain.compile(...targets);
    this.#chain = chain;
    this.#targets = targets;
    this.#layout = layout;
    this.#collection = loadCollection({ programs, maps, programArrays });
    const words = chain.parameters(layout);
    if (words) this.#collection.maps[parametersMap].update(onlyKey, words);
  }

  /** Instructions the verifier followed. */
  verifiedInstructions(hook: Hook = this.#targets[0]): number {
    return this.#collection.programs[hook].info().verifiedInstructions;
  }

  run(frame: Uint8Array, hook: Hook = this.#targets[0]): Outcome {
    const { returnValue, data } = testRun(this.#collection.programs[hook], { data: frame });
    return { verdict: verdictOf(hook, returnValue), packet: data };
  }

  counters(): Counters {
    return readCounters(this.#layout, this.#collection.maps[countersMap].lookupPerCpu(onlyKey)!);
  }

  state(): Record<string, StateEntry[]> {
    return readState(this.#layout, (slot) => this.#entries(slot));
  }

  events(): ChainEvent[] {
    const map = this.#collection.maps[eventsMap];
    if (!map) return [];
    const found: ChainEvent[] = [];
    using reader = readRingBuffer(map, (record) => found.push(decodeEvent(record, this.#layout)));
    reader.drain();
    return found;
  }

  #entries(slot: StateSlot): RawEntry[] {
    if (slot.kind === "perCpu")
      return this.#collection.maps[slot.map]
        .entriesPerCpu()
        .map(({ key, values }) => [key, sumRecords(values, slot)] as const);
    return this.#collection.maps[slot.map].entries().map(({ key, value }) => [key, value] as const);
  }

  changeState(change: (name: string, entry: StateEntry) => Readonly<Record<string, bigint>>): void {
    // A sum over CPUs cannot be written back.
    for (const slot of kept(this.#layout).filter(({ kind }) => kind !== "perCpu")) {
      const changed = changedRecords(slot, this.#entries(slot), change);
      this.#collection.maps[slot.map].updateMany(changed.map(([key, value]) => ({ key, value })));
    }
  }

  addMembers(set: string, members: readonly InputRecord[]): void {
    const { map, entries } = this.#chain.encode(set, members);
    this.#collection.maps[map].updateMany(entries);
  }

  set(actor: number, inputs: InputRecord): void {
    const map = this.#collection.maps[parametersMap];
    const words = map.lookup(onlyKey)!;
    this.#chain.writeInputs(words, this.#layout, actor, inputs);
    map.update(onlyKey, words);
  }

  [Symbol.dispose](): void {
    this.#collection.close();
  }
}
