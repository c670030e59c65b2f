/**
 * Runs policies in tests: `chain({ source, actors: ["mark"] }).vm("xdp").run(frame)`. Policies come from a text or are
 * built-in ones; packets run in the VM, or in the kernel (kernel-runner.ts), and both show the same `Runner`.
 */
import { decodeEvent, type ChainEvent } from "../../chain/events.ts";
import { policyFile, sourceReader } from "../../chain/sources.ts";
import { completeInputs, readConstant, readWord, type InputRecord, type Input } from "../../chain/inputs.ts";
import { MemberParameter, MemberSet } from "../../chain/member-set.ts";
import { encodeMembers, type EncodedMember } from "../../chain/members.ts";
import type { Policy } from "../../policy/index.ts";
import { builtInActor, builtInSelector } from "../../policies/registry.ts";
import {
  createMap,
  KernelObjects,
  RingBufferMap,
  Vm,
  type PacketFields,
  type PacketResult,
  type ProgramArrayMap,
  type VmMap,
} from "../../bpf/vm/index.ts";
import {
  compileChain,
  countersMap,
  eventsMap,
  fieldSize,
  hooks,
  isListed,
  parametersMap,
  parameterSize,
  parametersSize,
  parameterWords,
  writeParameter,
  type ChainLayout,
  type ChainMode,
  type CompiledChain,
  type Hook,
  type PolicyUse,
  type SelectorTree,
  type SetSlot,
  type StateSlot,
} from "../index.ts";
import { mainFile, type PolicySource } from "./policy-source.ts";

export const onlyKey = new Uint8Array(4);

/** A policy's name, alone or with its parameters; those of actors may be those of a set's members. */
export type Use =
  string | readonly [name: string, inputs: Readonly<Record<string, Input | MemberParameter | undefined>>];
export type Selection =
  | Use
  | MemberSet
  | { readonly and: readonly Selection[] }
  | { readonly or: readonly Selection[] }
  | { readonly not: Selection };

export interface ChainOptions {
  /** Where policies are looked for before the built-in ones. */
  readonly source?: PolicySource;
  /** Everything, by default. */
  readonly select?: Selection;
  readonly actors?: readonly Use[];
  /** `fused`, by default. */
  readonly mode?: ChainMode;
}

export interface Counters {
  readonly seen: number;
  /** Of a linked chain: packets that missed a program. */
  readonly lost: number;
  readonly lostEvents: number;
  /** By selector, in the order of the expression. */
  readonly matched: readonly number[];
  readonly acted: readonly number[];
  /** By actor: how often, for each reason. */
  readonly cannot: readonly Readonly<Record<string, number>>[];
}

/** A record of a policy's state with the key it is found by; raw bytes as one number, the first byte highest. */
export interface StateEntry {
  readonly key: string;
  readonly fields: Readonly<Record<string, bigint>>;
}

export interface Outcome {
  readonly verdict: "pass" | "drop" | "redirect";
  readonly packet: Uint8Array;
}

/** What the VM shows besides. */
export interface VmOutcome extends Outcome {
  /** Where a redirected packet goes. */
  readonly redirect?: PacketResult["redirect"];
  /** Copies that left on their own. */
  readonly clones?: PacketResult["clones"];
}

/** A chain on one or more hooks, with maps of its own that these share. */
export interface Runner {
  /** `hook` is needed only where the chain runs on several; the first by default. */
  run(frame: Uint8Array, hook?: Hook): Outcome;
  counters(): Counters;
  /** By actor and state: `0.flows`; sorted by key. */
  state(): Readonly<Record<string, readonly StateEntry[]>>;
  /** The events emitted since this was asked last. */
  events(): readonly ChainEvent[];
  /** Replaces fields of records; `change` gets each record and says what is new in it. */
  changeState(change: (name: string, entry: StateEntry) => Readonly<Record<string, bigint>>): void;
  /** Adds members to a set, by its name. */
  addMembers(set: string, members: readonly InputRecord[]): void;
  /** Sets live parameters of an actor. */
  set(actor: number, inputs: InputRecord): void;
}

export class ChainUnderTest {
  readonly #options: ChainOptions;
  readonly #actors: readonly (PolicyUse & { readonly inputs: InputRecord })[];
  readonly #sets = new Map<string, SetSlot>();
  readonly #compiled = new Map<string, CompiledChain>();

  constructor(options: ChainOptions) {
    this.#options = options;
    this.#actors = (options.actors ?? []).map((use) => this.#use("actor", use));
  }

  #use(kind: Policy["kind"], use: Use): PolicyUse & { inputs: InputRecord } {
    const [name, given] = typeof use === "string" ? [use, {}] : use;
    const inputs = Object.fromEntries(
      Object.entries(given).flatMap(([key, input]) => (input instanceof MemberParameter ? [] : [[key, input]])),
    );
    const fromMember = Object.fromEntries(
      Object.entries(given).flatMap(([key, input]) =>
        input instanceof MemberParameter ? [[key, { selector: this.#setUse(input.set), field: input.field }]] : [],
      ),
    );
    const own = this.#options.source?.policies.get(name);
    const policy = own ?? (kind === "selector" ? builtInSelector(name) : builtInActor(name));
    return { policy, inputs, fromMember, file: own ? mainFile : policyFile(policy) };
  }

  #setUse(set: MemberSet): PolicyUse {
    this.#sets.set(set.name, set.slot);
    const own = this.#options.source?.policies.get(set.selector.name) === set.selector;
    const members = encodeMembers(set.slot, set.members, "make");
    const file = own ? mainFile : policyFile(set.selector);
    return { policy: set.selector, file, constants: set.constants, set: set.slot, members };
  }

  /** Members as they lie in the map of the set called `set`. */
  encode(set: string, members: readonly InputRecord[]): { map: string; entries: readonly EncodedMember[] } {
    const slot = this.#sets.get(set)!;
    return { map: slot.map, entries: encodeMembers(slot, members, "add") };
  }

  #tree(selection: Selection | undefined): SelectorTree {
    if (selection === undefined) return { op: "any" };
    if (selection instanceof MemberSet) return { op: "policy", use: this.#setUse(selection) };
    if (typeof selection === "object" && "not" in selection) return { op: "not", term: this.#tree(selection.not) };
    if (typeof selection === "object" && "and" in selection)
      return { op: "and", terms: selection.and.map((term) => this.#tree(term)) };
    if (typeof selection === "object" && "or" in selection)
      return { op: "or", terms: selection.or.map((term) => this.#tree(term)) };
    const { inputs, ...use } = this.#use("selector", selection);
    const constants = Object.fromEntries(
      completeInputs(use.policy, inputs).map(([name, type, input]) => [name, readConstant(type, input, name)]),
    );
    return { op: "policy", use: { ...use, constants } };
  }

  /** @throws CompileError */
  compile(...targets: readonly Hook[]): CompiledChain {
    const key = targets.join();
    const known = this.#compiled.get(key);
    if (known) return known;
    const source = { name: "test", selector: this.#tree(this.#options.select), actors: this.#actors };
    const compiled = compileChain(source, targets, this.#options.source?.reader ?? sourceReader, this.#options.mode);
    this.#compiled.set(key, compiled);
    return compiled;
  }

  /** The value of the parameters map for the inputs given with the actors; undefined without parameters. */
  parameters(layout: ChainLayout): Uint8Array | undefined {
    if (layout.parameters.length === 0) return undefined;
    const words = new Uint8Array(parametersSize(parameterWords(layout.parameters)));
    this.#actors.forEach(({ inputs }, actor) => this.writeInputs(words, layout, actor, inputs));
    return words;
  }

  writeInputs(words: Uint8Array, layout: ChainLayout, actor: number, inputs: InputRecord): void {
    const { policy, fromMember = {} } = this.#actors[actor];
    for (const [name, type, input] of completeInputs(policy, inputs, new Set(Object.keys(fromMember)))) {
      const { offset } = layout.parameters.find((slot) => slot.actor === actor && slot.name === name)!;
      writeParameter(new DataView(words.buffer), offset, parameterSize(type), readWord(type, input, name));
    }
  }

  /** In the VM, where a second has passed since the start until `clockNs` is changed. */
  vm(...targets: readonly Hook[]): VmRunner {
    return new VmRunner(this, targets.length > 0 ? targets : ["xdp"]);
  }
}

/** A chain of policies of `source` and built-in ones. */
export function chain(options: ChainOptions): ChainUnderTest {
  return new ChainUnderTest(options);
}

export class VmRunner implements Runner {
  readonly vms: Readonly<Record<string, Vm>>;
  /** Sockets for walks over them. */
  readonly objects = new KernelObjects();
  clockNs = 1_000_000_000n;
  readonly #chain: ChainUnderTest;
  readonly #targets: readonly Hook[];
  readonly #layout: ChainLayout;
  readonly #maps: ReadonlyMap<string, VmMap>;

  /** By the key that programs refer to them by. */
  get maps(): ReadonlyMap<string, VmMap> {
    return this.#maps;
  }

  constructor(chain: ChainUnderTest, targets: readonly Hook[]) {
    const { layout, maps, programs, programArrays } = chain.compile(...targets);
    this.#chain = chain;
    this.#targets = targets;
    this.#layout = layout;
    this.#maps = new Map(Object.entries(maps).map(([key, spec]) => [key, createMap(spec)]));
    const words = chain.parameters(layout);
    if (words) this.#maps.get(parametersMap)!.update(onlyKey, words);
    const options = { maps: this.#maps, now: () => this.clockNs, objects: this.objects };
    this.vms = Object.fromEntries(Object.entries(programs).map(([key, spec]) => [key, new Vm(spec, options)]));
    for (const [map, keys] of Object.entries(programArrays)) {
      const array = this.#maps.get(map) as ProgramArrayMap;
      keys.forEach((key, index) => array.setProgram(index, key === undefined ? undefined : this.vms[key]));
    }
  }

  run(frame: Uint8Array, hook: Hook = this.#targets[0], fields?: PacketFields): VmOutcome {
    const { returnValue, packet, redirect, clones } = this.vms[hook].runPacket(frame, fields);
    const verdict = verdictOf(hook, returnValue);
    return { verdict, packet, ...(verdict === "redirect" && { redirect }), ...(clones.length > 0 && { clones }) };
  }

  counters(): Counters {
    return readCounters(this.#layout, [this.#maps.get(countersMap)!.lookup(onlyKey)!]);
  }

  state(): Record<string, StateEntry[]> {
    return readState(this.#layout, (slot) => [...this.#maps.get(slot.map)!.entries()]);
  }

  events(): ChainEvent[] {
    const map = this.#maps.get(eventsMap);
    return map instanceof RingBufferMap ? map.drain().map((record) => decodeEvent(record, this.#layout)) : [];
  }

  changeState(change: (name: string, entry: StateEntry) => Readonly<Record<string, bigint>>): void {
    for (const slot of kept(this.#layout)) {
      const map = this.#maps.get(slot.map)!;
      for (const [key, value] of changedRecords(slot, [...map.entries()], change)) map.update(key, value);
    }
  }

  addMembers(set: string, members: readonly InputRecord[]): void {
    const { map, entries } = this.#chain.encode(set, members);
    for (const { key, value } of entries) this.#maps.get(map)!.update(key, value);
  }

  set(actor: number, inputs: InputRecord): void {
    const map = this.#maps.get(parametersMap)!;
    const words = map.lookup(onlyKey)!;
    this.#chain.writeInputs(words, this.#layout, actor, inputs);
    map.update(onlyKey, words);
  }
}

export function verdictOf(hook: Hook, returnValue: number): Outcome["verdict"] {
  const { proceed, drop } = hooks[hook];
  // XDP_TX and XDP_REDIRECT, TC_ACT_REDIRECT
  if (hook === "xdp" ? returnValue === 3 || returnValue === 4 : returnValue === 7) return "redirect";
  if (returnValue === proceed) return "pass";
  if (returnValue === drop) return "drop";
  throw new Error(`A program on ${hook} returned ${returnValue}, which is neither pass nor drop`);
}

/** Counters summed over CPUs. */
export function readCounters(layout: ChainLayout, perCpu: readonly Uint8Array[]): Counters {
  const matched: number[] = [];
  const acted: number[] = [];
  const cannot: Record<string, number>[] = [];
  let seen = 0;
  let lost = 0;
  let lostEvents = 0;
  layout.counters.forEach((slot, i) => {
    const sum = perCpu.reduce(
      (total, value) => total + new DataView(value.buffer, value.byteOffset).getBigUint64(8 * i, true),
      0n,
    );
    if (slot.kind === "seen") seen = Number(sum);
    else if (slot.kind === "matched") matched[slot.selector] = Number(sum);
    else if (slot.kind === "acted") {
      acted[slot.actor] = Number(sum);
      cannot[slot.actor] ??= {};
    } else if (slot.kind === "cannot") (cannot[slot.actor] ??= {})[slot.reason] = Number(sum);
    else if (slot.kind === "lost") lost = Number(sum);
    else if (slot.kind === "lostEvents") lostEvents = Number(sum);
  });
  return { seen, lost, lostEvents, matched, acted, cannot };
}

export type RawEntry = readonly [key: Uint8Array, value: Uint8Array];

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** State whose records can be listed. */
export const kept = (layout: ChainLayout): StateSlot[] => layout.state.filter(isListed);

export function readState(
  layout: ChainLayout,
  entries: (slot: StateSlot) => readonly RawEntry[],
): Record<string, StateEntry[]> {
  return Object.fromEntries(
    kept(layout).map((slot) => [
      stateName(slot),
      entries(slot)
        .map(([key, value]) => ({ key: hex(key), fields: readRecord(slot, value) }))
        .sort((a, b) => (a.key < b.key ? -1 : 1)),
    ]),
  );
}

/** As the first policy that uses it has it: `0.flows` of an actor, `selector0.seen` of a selector. */
const stateName = ({ owners: [{ kind, index, name }] }: StateSlot): string =>
  `${kind === "actor" ? "" : kind}${index}.${name}`;

function readRecord(slot: StateSlot, value: Uint8Array): Record<string, bigint> {
  return Object.fromEntries(
    slot.fields.map(({ name, type, offset }) => {
      const size = fieldSize(type);
      const bytes = value.slice(offset, offset + size);
      if (typeof type === "object") return [name, BigInt(`0x${hex(bytes)}`)];
      const raw = bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
      return [name, type.startsWith("i") ? BigInt.asIntN(8 * size, raw) : raw];
    }),
  );
}

/** Records as `Runner.changeState` wants them. */
export function changedRecords(
  slot: StateSlot,
  entries: readonly RawEntry[],
  change: (name: string, entry: StateEntry) => Readonly<Record<string, bigint>>,
): RawEntry[] {
  return entries.map(([key, value]) => {
    const changed = value.slice();
    const changes = change(stateName(slot), { key: hex(key), fields: readRecord(slot, value) });
    for (const [name, number] of Object.entries(changes)) {
      const { type, offset } = slot.fields.find((field) => field.name === name)!;
      for (let i = 0; i < fieldSize(type); i++) changed[offset + i] = Number((number >> BigInt(8 * i)) & 0xffn);
    }
    return [key, changed];
  });
}
