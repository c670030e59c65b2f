/** A submitted chain: read its counters and state, change its parameters, remove it. Any process may open it by name. */
import { existsSync, statSync } from "node:fs";
import type { Hook } from "../compiler/index.ts";
// Not through the index: managing chains needs no compiler, and loading one takes longer than what is asked.
import { parametersMap, countersMap, eventsMap, isListed, type StateSlot } from "../compiler/layout.ts";
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
import type { ActorChain, SelectorChain } from "./compose.ts";
import { checkControl } from "./controls.ts";
import { arrangeCounters, type ChainCounters } from "./counters.ts";
import type { Attachment, ChainDescription } from "./description.ts";
import { ChainError } from "./errors.ts";
import { decodeEvent, type ChainEvent } from "./events.ts";
import { removeUnusedHostState } from "./host-state.ts";
import { endChange, isChanging, updateLinks, versionsBefore } from "./generations.ts";
import { ParameterError, readWord, showWord, type InputRecord } from "./inputs.ts";
import { changeWords, readWords, type WordChange } from "./parameters.ts";
import { findPlace } from "./places.ts";
import type { PolicyChain } from "./policy-chain.ts";
import { measureRates, type ChainRates } from "./rates.ts";
import { applySteps } from "./relink.ts";
import { findSet, memberParameters, RunningMembers } from "./running-members.ts";
import { byConnection, type ConnectionRecord } from "./connection-records.ts";
import { readState, type ChainState, type FlowRecord, type StateContents, type TableRecord } from "./state.ts";
import { lockAt, NoSuchChainError, readDescription, removeChain } from "./store.ts";

const firstKey = new Uint8Array(4);

/** Maps of chains that nobody refers to any more. */
const keptOpen = new FinalizationRegistry<KernelMap>((map) => map.close());

/** The parts of a chain that can be changed. */
export interface ChainParts {
  readonly selectors: SelectorChain;
  readonly actors: ActorChain;
}

export class RunningChain {
  readonly #directory: string;
  #description: ChainDescription;
  #inode: number;
  #parameters: { readonly inode: number; readonly map: KernelMap } | undefined;

  constructor(directory: string, description: ChainDescription) {
    this.#directory = directory;
    this.#description = description;
    this.#inode = statSync(directory).ino;
  }

  get name(): string {
    return this.#description.name;
  }

  /** What the chain is now: any process may have changed it. @throws NoSuchChainError when it was removed meanwhile */
  get description(): ChainDescription {
    const inode = statSync(this.#directory, { throwIfNoEntry: false })?.ino;
    if (inode === undefined) throw new NoSuchChainError(this.name);
    if (inode !== this.#inode) {
      this.#description = readDescription(this.#directory);
      this.#inode = inode;
    }
    return this.#description;
  }

  /** What the chain and each of its sub-policies did so far. */
  counters(): ChainCounters {
    return this.#read(({ layout, selector, actors, history }) => {
      if (layout.counters.length === 0) return { seen: 0, matched: 0, selectors: [], actors: [] };
      return this.#withMap(countersMap, (map) =>
        arrangeCounters(map.lookupPerCpu(firstKey)!, layout, selector, actors, history),
      );
    });
  }

  /** @internal Gives `use` the values of the counters map, one for each CPU. */
  withCounters<T>(use: (perCpu: Uint8Array[]) => T): T {
    return this.#withMap(countersMap, (map) => use(map.lookupPerCpu(firstKey)!));
  }

  /** Where it is attached, and where no more because the interface is gone. */
  attachments(): Attachment[] {
    return this.#read(({ attachments }) =>
      attachments.map((attachment) => {
        if (attachment.interface === undefined) return attachment;
        const link = openLink(`${this.#directory}/${attachment.pin}`);
        try {
          return link.info().interfaceIndex === 0 ? { ...attachment, gone: true } : attachment;
        } finally {
          link.close();
        }
      }),
    );
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
    return this.#read(({ layout, actors }) => {
      const words = this.#words(layout);
      return actors.map((_, index) => ({
        ...Object.fromEntries(
          layout.parameters.flatMap(({ actor, name, type }, i) =>
            actor === index ? [[name, showWord(type, words[i])]] : [],
          ),
        ),
        ...memberParameters(layout, index),
      }));
    });
  }

  /** @internal The words of the parameters, in the order of the layout. */
  words(): bigint[] {
    return this.#words(this.description.layout);
  }

  #words({ parameters }: ChainDescription["layout"]): bigint[] {
    if (parameters.length === 0) return [];
    return this.#withMap(parametersMap, (map) => readWords(map, parameters));
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
    this.#locked(() => {
      const changes = this.#findChanges(all);
      if (changes.length === 0) return;
      this.#inNamespace(() => {
        changeWords(this.#parametersMap(), this.#description.layout.parameters, changes);
        this.#iterate("iter_tcp");
      });
    });
  }

  /** Kept open: opening a map takes longer than changing a word in it. The caller holds the chain's lock. */
  #parametersMap(): KernelMap {
    if (this.#parameters?.inode !== this.#inode) {
      this.#parameters?.map.close();
      const map = openMap(`${this.#directory}/map_${parametersMap}`);
      this.#parameters = { inode: this.#inode, map };
      keptOpen.unregister(this);
      keptOpen.register(this, map, this);
    }
    return this.#parameters.map;
  }

  #findChanges(all: readonly (readonly [actor: string | number, inputs: InputRecord])[]): WordChange[] {
    const { layout, actors } = this.description;
    return all.flatMap(([actor, inputs]) => {
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
        checkControl(slot.type, input, `${name}.${parameter}`);
        return { slot, word: readWord(slot.type, input, `${name}.${parameter}`) };
      });
    });
  }

  /**
   * Puts another chain in this one's place while packets flow: all of it or nothing, and no packet meets half of it. What
   * both have in common goes on: counters, state, and parameters that were set, unless the new chain was given other ones.
   * Interfaces, direction and hook are those of the new chain; its name is of no account.
   * @throws CompileError, ChainError, ChainBusyError, NoSuchChainError, VerifierError, KernelError, NoSuchInterfaceError
   */
  async replace(chain: PolicyChain): Promise<void> {
    this.#mayChange();
    const { PolicyChain: Chain } = await import("./policy-chain.ts");
    if (!(chain instanceof Chain))
      throw new TypeError(`Cannot replace chain ${this.name}: what is given is no PolicyChain`);
    chain.with({ name: this.name }).replace();
  }

  /**
   * Changes selectors and actors while packets flow: as `replace` with this chain as `change` leaves it. Parameters that
   * were set stay set unless `change` sets them.
   *
   * ```ts
   * await running.edit(({ selectors, actors }) => {
   *   selectors.exclude("packet_type", { type: "rst" });
   *   actors.insert(1, "record").move("rate_limit", 1).disable("blk_subflow");
   * });
   * ```
   * @throws as `replace`, ParameterError, FileError when the file of a policy cannot be loaded any more
   */
  async edit(change: (parts: ChainParts) => void): Promise<void> {
    const { rebuildChain } = await import("./rebuild.ts");
    for (;;) {
      const { generation } = this.#mayChange();
      const chain = await rebuildChain(this.description);
      change(chain);
      // Another process was faster: the same change is made to what it left.
      if (chain.with({}).replace(generation) !== "outdated") return;
    }
  }

  /**
   * Attaches the chain again where its interfaces were gone and are back. Interfaces that are still missing stay so.
   * @returns the names of the interfaces to which it is attached again
   * @throws as `edit`
   */
  async repair(): Promise<string[]> {
    const missing = this.attachments().filter(({ gone }) => gone);
    if (missing.length === 0) return [];
    await this.edit(() => {});
    const left = new Set(this.attachments().flatMap(({ gone, interface: name }) => (gone ? [name] : [])));
    return [...new Set(missing.map(({ interface: name }) => name!))].filter((name) => !left.has(name));
  }

  /** @throws ChainError when this version of the package does not know enough of the chain */
  #mayChange(): ChainDescription {
    const { description } = this;
    if (description.fixed === undefined) return description;
    throw new ChainError(
      `Cannot change chain ${this.name}: ${description.fixed}. Remove it (emptcp chain remove ${this.name}) and apply it again`,
    );
  }

  /** The members of one of the chain's sets; of the only one, unless named. @throws ParameterError */
  members(set?: string): RunningMembers {
    const slot = findSet(this.description, set);
    return new RunningMembers(slot, {
      withMap: (use) => this.#withMap(slot.map, use),
      changing: (change, takesAway) =>
        this.#locked(() =>
          this.#inNamespace(() => {
            // What an actor did to a socket is taken back while the chain still finds it.
            if (takesAway) this.#iterate("iter_tcp_release");
            change();
            this.#iterate("iter_tcp");
          }),
        ),
    });
  }

  /** The records of an actor's state map by flow; by default the one called `flows` of the first actor that has one. */
  flows(actor?: string | number, name = "flows"): FlowRecord[] {
    return this.#readState(actor, name, "flows");
  }

  /** What a `record` keeps of subflows, by connection; those whose connection it does not know are left out. */
  connections(actor: string | number = "record"): ConnectionRecord[] {
    return byConnection(this.flows(actor));
  }

  /** An actor's shared record. */
  shared(actor: string | number, name: string): Readonly<Record<string, number>> {
    return this.#readState(actor, name, "shared");
  }

  /** The records of an actor's table by key; by default of the first policy that has one of that name. */
  table(actor: string | number | undefined, name: string): TableRecord[] {
    return this.#readState(actor, name, "table");
  }

  /** An actor's per-CPU record, summed over the CPUs. */
  perCpu(actor: string | number | undefined, name: string): Readonly<Record<string, number>> {
    return this.#readState(actor, name, "perCpu");
  }

  /** Slots that are not all zeros, by their number. */
  slots(actor: string | number | undefined, name: string): TableRecord[] {
    return this.#readState(actor, name, "slots");
  }

  /** All state that the chain keeps in maps, decoded; what goes with sockets is not among it. */
  state(): ChainState[] {
    return this.#read(({ layout }) =>
      layout.state
        .filter(isListed)
        .map((slot) => ({ slot, ...this.#withMap(slot.map, (map) => readState(map, slot)) })),
    );
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
    this.#locked(() => removeChain(this.name, releaseSockets));
    removeUnusedHostState();
  }

  /** Keeps others from changing the chain meanwhile. @throws ChainBusyError, NoSuchChainError */
  #locked(action: () => void): void {
    const lock = lockAt(this.#directory);
    try {
      action();
    } finally {
      lock.release();
    }
  }

  /** @internal What `setAll` and others have begun by the chain's lock. The caller holds it. */
  finishChange(): void {
    if (!isChanging(this.#directory)) return;
    const { description } = this;
    updateLinks(this.#directory, description.attachments);
    applySteps(this.#directory, description);
    for (const before of versionsBefore(description))
      new RunningChain(before.directory, before.description).#releaseIterated();
    this.applyToSockets();
    endChange(this.#directory);
  }

  /** @internal Takes back what the socket programs set; new connections are left alone from now on. */
  releaseSockets(): void {
    for (const { pin, hook } of this.description.attachments) if (hook === "sock_ops") this.#detach(pin);
    this.#releaseIterated();
  }

  #releaseIterated(): void {
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
    const done = actors.map(({ name }) => name);
    const asked = actors.map(({ given }) => given.name);
    // What a person asked for names it as well as what does it.
    const names = typeof actor === "string" && !done.includes(actor) && asked.includes(actor) ? asked : done;
    return findPlace(names, actor, "actor", ` of chain ${this.name}`);
  }

  /** Reads of one version of the chain: again, should it be changed meanwhile. */
  #read<T>(read: (description: ChainDescription) => T): T {
    for (;;) {
      const { description } = this;
      const inode = this.#inode;
      const changed = (): boolean => statSync(this.#directory, { throwIfNoEntry: false })?.ino !== inode;
      try {
        const result = read(description);
        if (!changed()) return result;
      } catch (error) {
        if (!changed()) throw error;
      }
    }
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

  #readState<K extends keyof StateContents>(actor: string | number | undefined, name: string, kind: K) {
    return this.#read(() => {
      const slot = this.#stateSlot(actor, name, kind);
      return this.#withMap(slot.map, (map) => readState(map, slot)[kind]!) as Required<StateContents>[K];
    });
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

/** @internal Lets go of the sockets that a chain's programs reached, whatever is left of the chain. */
export function releaseSockets(directory: string): void {
  try {
    new RunningChain(directory, readDescription(directory)).releaseSockets();
  } catch {
    // Killed before there was a description or a way to its namespace: then no socket was reached, or none can be.
  }
}
