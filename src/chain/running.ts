/** A submitted chain: read its counters and state, change its parameters, remove it. Any process may open it by name. */
import { existsSync } from "node:fs";
import type { Hook } from "../compiler/index.ts";
// Not through the index: managing chains needs no compiler, and loading one takes longer than what is asked.
import { parametersMap, countersMap, eventsMap, type StateSlot } from "../compiler/layout.ts";
import {
  netnsInode,
  netnsPath,
  openLink,
  openMap,
  readRingBuffer,
  runIter,
  withNetns,
  type KernelMap,
  type NetworkNamespace,
  type RingBufferReader,
} from "../linux/index.ts";
import { arrangeCounters, type ChainCounters } from "./counters.ts";
import type { ChainDescription } from "./description.ts";
import { ChainError } from "./errors.ts";
import { decodeEvent, type ChainEvent } from "./events.ts";
import { ParameterError, readWord, showWord, type InputRecord } from "./inputs.ts";
import { measureRates, type ChainRates } from "./rates.ts";
import { findSet, memberParameters, RunningMembers } from "./running-members.ts";
import { readState, type ChainState, type FlowRecord, type StateContents, type TableRecord } from "./state.ts";
import { chainDirectory, chainNames, NoSuchChainError, readDescription, removeAbandoned, removePins } from "./store.ts";

const firstKey = new Uint8Array(4);

export class RunningChain {
  readonly description: ChainDescription;
  readonly #directory: string;

  constructor(directory: string, description: ChainDescription) {
    this.#directory = directory;
    this.description = description;
  }

  get name(): string {
    return this.description.name;
  }

  /** What the chain and each of its sub-policies did so far. */
  counters(): ChainCounters {
    const { layout, selector, actors } = this.description;
    return this.#withMap(countersMap, (map) => arrangeCounters(map.lookupPerCpu(firstKey)!, layout, selector, actors));
  }

  /**
   * What the chain does per second and what its programs cost, measured over `seconds` from now. Meanwhile the kernel
   * measures every program of the machine, at about 30 ns a run.
   * @throws KernelError, without CAP_SYS_ADMIN or before Linux 5.8
   */
  async rates(seconds = 1): Promise<ChainRates> {
    const { attachments } = this.description;
    return await measureRates({ directory: this.#directory, attachments, counters: () => this.counters() }, seconds);
  }

  /** The actors' parameters now, as a person would write them. */
  params(): Readonly<Record<string, string>>[] {
    const { layout, actors } = this.description;
    const fromMembers = actors.map((_, index) => memberParameters(layout, index));
    if (layout.parameters.length === 0) return fromMembers;
    const words = this.#withMap(parametersMap, (map) => map.lookup(firstKey)!);
    const view = new DataView(words.buffer, words.byteOffset, words.byteLength);
    return actors.map((_, index) => ({
      ...Object.fromEntries(
        layout.parameters
          .filter(({ actor }) => actor === index)
          .map(({ name, type, offset }) => [name, showWord(type, view.getBigUint64(offset, true))]),
      ),
      ...fromMembers[index],
    }));
  }

  /**
   * Changes parameters of one actor while packets flow: by its name, or by its place (from 1) where a name stands twice.
   * @throws ParameterError; nothing is changed then
   */
  set(actor: string | number, inputs: InputRecord): void {
    this.setAll([[actor, inputs]]);
  }

  /**
   * The same for several actors at once.
   * @throws ParameterError; nothing is changed then
   */
  setAll(all: readonly (readonly [actor: string | number, inputs: InputRecord])[]): void {
    const { layout, actors } = this.description;
    const changes = all.flatMap(([actor, inputs]) => {
      const index = this.#actorIndex(actor);
      const name = actors[index].name;
      const slots = layout.parameters.filter((slot) => slot.actor === index);
      return Object.entries(inputs).map(([parameter, input]) => {
        const slot = slots.find((one) => one.name === parameter);
        const fromMember = memberParameters(layout, index)[parameter];
        if (fromMember !== undefined)
          throw new ParameterError(
            `Cannot set ${name}.${parameter}: it is ${fromMember}, which each member has; change the members of ${fromMember.split(".")[0]}`,
          );
        if (!slot || input === undefined)
          throw new ParameterError(
            `Cannot set ${name}.${parameter}: ${name} has ${slots.map((one) => one.name).join(", ") || "no parameters"}`,
          );
        return { offset: slot.offset, word: readWord(slot.type, input, `${name}.${parameter}`) };
      });
    });
    if (changes.length === 0) return;
    this.#inNamespace(() => {
      this.#withMap(parametersMap, (map) => {
        const words = map.lookup(firstKey)!;
        const view = new DataView(words.buffer, words.byteOffset, words.byteLength);
        for (const { offset, word } of changes) view.setBigUint64(offset, word, true);
        map.update(firstKey, words);
      });
      this.#iterate("iter_tcp");
    });
  }

  /** The members of one of the chain's sets; of the only one, unless named. @throws ParameterError */
  members(set?: string): RunningMembers {
    const slot = findSet(this.description, set);
    return new RunningMembers(slot, {
      withMap: (use) => this.#withMap(slot.map, use),
      changing: (change, takesAway) =>
        this.#inNamespace(() => {
          // What an actor did to a socket is taken back while the chain still finds it.
          if (takesAway) this.#iterate("iter_tcp_release");
          change();
          this.#iterate("iter_tcp");
        }),
    });
  }

  /** The records of an actor's state map by flow; by default the one called `flows` of the first actor that has one. */
  flows(actor?: string | number, name = "flows"): FlowRecord[] {
    return this.#read(actor, name, "flows");
  }

  /** An actor's shared record. */
  shared(actor: string | number, name: string): Readonly<Record<string, number>> {
    return this.#read(actor, name, "shared");
  }

  /** The records of an actor's table by key; by default of the first policy that has one of that name. */
  table(actor: string | number | undefined, name: string): TableRecord[] {
    return this.#read(actor, name, "table");
  }

  /** An actor's per-CPU record, summed over the CPUs. */
  perCpu(actor: string | number | undefined, name: string): Readonly<Record<string, number>> {
    return this.#read(actor, name, "perCpu");
  }

  /** All state that the chain keeps in maps, decoded. */
  state(): ChainState[] {
    const { layout } = this.description;
    return layout.state
      .filter(({ kind }) => kind !== "perPacket")
      .map((slot) => ({ slot, ...this.#withMap(slot.map, (map) => readState(map, slot)) }));
  }

  /**
   * Reads what the chain's policies emit, on the event loop, until closed. Events have one reader: two share them.
   * @throws ChainError for a chain that emits none
   */
  readEvents(event: (event: ChainEvent) => void): RingBufferReader {
    const { layout } = this.description;
    if (layout.events.length === 0)
      throw new ChainError(`Cannot read events of chain ${this.name}: none of its policies emits any`);
    const map = openMap(`${this.#directory}/map_${eventsMap}`);
    try {
      const reader = readRingBuffer(map, (record) => event(decodeEvent(record, layout)));
      const close = () => {
        reader.close();
        map.close();
      };
      return { drain: () => reader.drain(), close, [Symbol.dispose]: close };
    } catch (error) {
      map.close();
      throw error;
    }
  }

  /** Takes the chain off its hooks and forgets it. Sockets that it limited are free again. */
  remove(): void {
    this.releaseSockets();
    removePins(this.#directory);
  }

  /** @internal Takes back what the socket programs set; new connections are left alone from now on. */
  releaseSockets(): void {
    for (const { pin, hook } of this.description.attachments) if (hook === "sock_ops") this.#detach(pin);
    const { name } = this.description.netns;
    // The sockets of a namespace that is gone are gone too.
    if (name !== undefined && !existsSync(netnsPath(name))) return;
    this.#inNamespace(() => this.#iterate("iter_tcp_release"));
  }

  /** @internal Lets the socket programs act on the connections that run now. */
  applyToSockets(): void {
    this.#inNamespace(() => this.#iterate("iter_tcp"));
  }

  #iterate(hook: Hook): void {
    const attachment = this.description.attachments.find((one) => one.hook === hook);
    if (!attachment) return;
    const link = openLink(`${this.#directory}/${attachment.pin}`);
    try {
      runIter(link);
    } finally {
      link.close();
    }
  }

  #detach(pin: string): void {
    const link = openLink(`${this.#directory}/${pin}`);
    try {
      link.detach();
    } finally {
      link.close();
    }
  }

  /** Socket walks see the sockets of the namespace they run in: that must be the chain's. */
  #inNamespace(action: () => void): void {
    const { netns, attachments } = this.description;
    if (!attachments.some(({ hook }) => hook === "iter_tcp") || netnsInode() === netns.inode) return action();
    const name: NetworkNamespace | undefined = netns.name;
    if (name === undefined)
      throw new Error(
        `Cannot reach the sockets of chain ${this.name}: it was submitted in another network namespace; run this there`,
      );
    return withNetns(name, action);
  }

  #actorIndex(actor: string | number): number {
    const { actors } = this.description;
    const place = typeof actor === "number" ? actor : /^\d+$/.test(actor) ? Number(actor) : undefined;
    if (place !== undefined) {
      if (place >= 1 && place <= actors.length) return place - 1;
      throw new ParameterError(`Cannot find actor ${place} of chain ${this.name}: it has ${actors.length}`);
    }
    const found = actors.flatMap(({ name }, i) => (name === actor ? [i] : []));
    if (found.length === 1) return found[0];
    const names = actors.map(({ name }, i) => `${i + 1} ${name}`).join(", ");
    const problem = found.length === 0 ? "there is none" : "there are several; say which by its number";
    throw new ParameterError(`Cannot find actor ${actor} of chain ${this.name}: ${problem} (${names})`);
  }

  #stateSlot(actor: string | number | undefined, name: string, kind: StateSlot["kind"]) {
    const index = actor === undefined ? undefined : this.#actorIndex(actor);
    const slot = this.description.layout.state.find(
      ({ owners, kind: has }) =>
        has === kind &&
        owners.some(
          (owner) => owner.name === name && (index === undefined || (owner.kind === "actor" && owner.index === index)),
        ),
    );
    if (!slot) throw new ParameterError(`Cannot find state ${name} in chain ${this.name}: no such actor keeps it`);
    return slot;
  }

  #read<K extends keyof StateContents>(actor: string | number | undefined, name: string, kind: K) {
    const slot = this.#stateSlot(actor, name, kind);
    return this.#withMap(slot.map, (map) => readState(map, slot)[kind]!) as Required<StateContents>[K];
  }

  #withMap<T>(name: string, use: (map: KernelMap) => T): T {
    const map = openMap(`${this.#directory}/map_${name}`);
    try {
      return use(map);
    } finally {
      map.close();
    }
  }
}

/** Opens a submitted chain. @throws NoSuchChainError */
export function openChain(name: string): RunningChain {
  const directory = chainDirectory(name);
  if (!directory) throw new NoSuchChainError(name);
  return new RunningChain(directory, readDescription(directory));
}

/** Removes what killed processes left half made, and lets go of the sockets they had reached. */
export function cleanUp(): void {
  removeAbandoned((directory) => {
    try {
      new RunningChain(directory, readDescription(directory)).releaseSockets();
    } catch {
      // Killed before there was a description or a way to its namespace: then no socket was reached, or none can be.
    }
  });
}

/** All submitted chains, by name. */
export function listChains(): RunningChain[] {
  cleanUp();
  return chainNames().map(openChain);
}
