/** State: maps of records, records that all packets share, and what lasts for one packet. */
import type ts from "#typescript";
import { helpers } from "../../../bpf/helpers.ts";
import { integerSizes } from "../../../policy/types.ts";
import type { Policy } from "../../../policy/policy.ts";
import { claimLock, type ChainLayout, type StateField, type StateSlot } from "../../layout.ts";
import { int32, int64, pointer, type MemorySize, type Value } from "../../ir/ir.ts";
import type { Variable } from "../../ir/builder.ts";
import { goOnWith, type Lowering } from "../lowering.ts";
import type { PacketField } from "../packet-memory.ts";
import type { LanguageValue, View } from "../values.ts";
import { FlowView } from "./flow.ts";

/** BPF_NOEXIST: an update must not overwrite what another CPU just made. */
const onlyIfAbsent = 1;

/** `flows` and `table`: records by key. */
export class RecordMapView implements View {
  readonly name: string;
  readonly #slot: StateSlot;
  constructor(name: string, slot: StateSlot) {
    this.name = name;
    this.#slot = slot;
  }

  get(): undefined {
    return undefined;
  }

  call(lowering: Lowering, method: string, args: readonly LanguageValue[], node: ts.Node): LanguageValue | undefined {
    if (method !== "get" && method !== "getOrCreate" && method !== "delete") return undefined;
    const key = this.#key(lowering, args[0], node);
    if (!key) return undefined;
    if (method === "delete") return this.#delete(lowering, key);
    const found = method === "get" ? this.#lookUp(lowering, key) : this.#lookUpOrCreate(lowering, key);
    return { kind: "nullable", pointer: found, view: new RecordView(this.name, this.#slot, () => found) };
  }

  #key(lowering: Lowering, of: LanguageValue | undefined, node: ts.Node): Value | undefined {
    const type = this.#slot.key;
    if (!type) return of?.kind === "view" && of.view instanceof FlowView ? of.view.key(lowering) : undefined;
    if (!of) return undefined;
    const key = lowering.scratch.flowKey;
    lowering.builder.store(integerSizes[type], key, 0, lowering.coerce(of, type, node));
    return key;
  }

  #lookUp(lowering: Lowering, key: Value): Value {
    return lookUp(lowering, this.#slot, key);
  }

  #lookUpOrCreate(lowering: Lowering, key: Value): Value {
    const { builder } = lowering;
    const result: Variable = { name: "record", type: pointer("map", true) };
    const [create, exit] = [builder.block(), builder.block()];
    const found = this.#lookUp(lowering, key);
    builder.write(result, found);
    builder.branch("ne", found, builder.const(0, 64), exit, create);
    lowering.enter(create);
    const empty = lowering.scratch.record;
    for (let at = 0; at < this.#slot.size; at += 8) builder.store(8, empty, at, builder.const(0, 64));
    const args = [builder.map(this.#slot.map), key, empty, builder.const(onlyIfAbsent, 64)];
    builder.call(helpers.mapUpdateElem.number, args, int64, "memory");
    builder.write(result, this.#lookUp(lowering, key));
    builder.jump(exit);
    lowering.enter(exit);
    return builder.read(result);
  }

  #delete(lowering: Lowering, key: Value): LanguageValue {
    const { builder } = lowering;
    const result = builder.call(helpers.mapDeleteElem.number, [builder.map(this.#slot.map), key], int64, "memory");
    lowering.effects?.acted();
    return lowering.boolean("eq", result, builder.const(0, 64));
  }
}

/** `perSocket`: records that the kernel keeps with a socket, and drops with it. */
class SocketRecordsView implements View {
  readonly name: string;
  readonly #slot: StateSlot;
  constructor(name: string, slot: StateSlot) {
    this.name = name;
    this.#slot = slot;
  }

  get(): undefined {
    return undefined;
  }

  call(lowering: Lowering, method: string, args: readonly LanguageValue[]): LanguageValue | undefined {
    if (method !== "get" && method !== "getOrCreate" && method !== "delete") return undefined;
    const [socket] = args;
    const view = socket?.kind === "view" ? socket.view : undefined;
    const pointer = view?.socketPointer?.(lowering);
    if (!pointer) return undefined;
    goOnWith(lowering, pointer);
    return method === "delete" ? this.#delete(lowering, pointer) : this.#get(lowering, pointer, method);
  }

  #get(lowering: Lowering, socket: Value, method: "get" | "getOrCreate"): LanguageValue {
    const { builder } = lowering;
    const flags = builder.const(method === "get" ? 0 : createRecord, 64);
    const args = [builder.map(this.#slot.map), socket, builder.const(0, 64), flags];
    const found = builder.call(helpers.skStorageGet.number, args, pointer("map", true), "memory");
    return { kind: "nullable", pointer: found, view: new RecordView(this.name, this.#slot, () => found) };
  }

  #delete(lowering: Lowering, socket: Value): LanguageValue {
    const { builder } = lowering;
    const result = builder.call(helpers.skStorageDelete.number, [builder.map(this.#slot.map), socket], int64, "memory");
    lowering.effects?.acted();
    return lowering.boolean("eq", result, builder.const(0, 64));
  }
}

/** BPF_SK_STORAGE_GET_F_CREATE (include/uapi/linux/bpf.h): the new record is zero. */
const createRecord = 1;

/** `slots`: records by their number. */
class SlotsView implements View {
  readonly name: string;
  readonly #slot: StateSlot;
  constructor(name: string, slot: StateSlot) {
    this.name = name;
    this.#slot = slot;
  }

  get(): undefined {
    return undefined;
  }

  call(lowering: Lowering, method: string, args: readonly LanguageValue[], node: ts.Node): LanguageValue | undefined {
    if (method !== "at" || !args[0]) return undefined;
    const { builder } = lowering;
    const key = lowering.scratch.flowKey;
    builder.store(4, key, 0, lowering.coerce(args[0], "u32", node));
    const found = lookUp(lowering, this.#slot, key);
    return { kind: "nullable", pointer: found, view: new RecordView(this.name, this.#slot, () => found) };
  }
}

function lookUp({ builder }: Lowering, slot: StateSlot, key: Value): Value {
  return builder.call(helpers.mapLookupElem.number, [builder.map(slot.map), key], pointer("map", true), "memory");
}

/** A record: its fields at offsets from a pointer. Additions to 4- and 8-byte fields are atomic. */
export class RecordView implements View {
  readonly name: string;
  readonly #slot: StateSlot;
  readonly #base: (lowering: Lowering) => Value;
  constructor(name: string, slot: StateSlot, base: (lowering: Lowering) => Value) {
    this.name = name;
    this.#slot = slot;
    this.#base = base;
  }

  get(lowering: Lowering, property: string): LanguageValue | undefined {
    const { builder } = lowering;
    const field = this.#slot.fields.find(({ name }) => name === property);
    if (!field) return undefined;
    const base = this.#base(lowering);
    if (typeof field.type !== "object")
      return lowering.integer(field.type, builder.load(integerSizes[field.type], base, field.offset));
    const at = builder.pointerAdd(base, builder.const(field.offset, 64));
    return { kind: "bytes", bytes: { kind: "saved", at, capacity: field.type.bytes } };
  }

  set(lowering: Lowering, property: string, value: LanguageValue, node: ts.Node): boolean {
    const field = integerField(this.#slot, property);
    if (!field) return false;
    lowering.builder.store(field.bytes, this.#base(lowering), field.offset, lowering.coerce(value, field.type, node));
    lowering.effects?.acted();
    return true;
  }

  add(lowering: Lowering, property: string, value: LanguageValue, node: ts.Node): boolean {
    const field = integerField(this.#slot, property);
    if (!field || field.bytes < 4) return false;
    const amount = lowering.coerce(value, field.type, node);
    lowering.builder.atomicAdd(field.bytes as 4 | 8, this.#base(lowering), field.offset, amount);
    lowering.effects?.acted();
    return true;
  }

  fetchAdd(lowering: Lowering, property: string, value: LanguageValue, node: ts.Node): LanguageValue | undefined {
    const field = integerField(this.#slot, property);
    if (!field || field.bytes < 4) return undefined;
    const amount = lowering.coerce(value, field.type, node);
    const before = lowering.builder.atomicFetchAdd(field.bytes as 4 | 8, this.#base(lowering), field.offset, amount);
    lowering.effects?.acted();
    return lowering.integer(field.type, before);
  }

  compareExchange(
    lowering: Lowering,
    property: string,
    expected: LanguageValue,
    desired: LanguageValue,
    node: ts.Node,
  ): LanguageValue | undefined {
    const field = integerField(this.#slot, property);
    if (!field || field.bytes < 4) return undefined;
    const [from, to] = [expected, desired].map((value) => lowering.coerce(value, field.type, node)) as [Value, Value];
    const base = this.#base(lowering);
    const before = lowering.builder.atomicCompareExchange(field.bytes as 4 | 8, base, field.offset, from, to);
    lowering.effects?.acted();
    return lowering.integer(field.type, before);
  }

  /** Takes the record's flag: true when it was set. Who finds that it is not leaves without the lock. */
  claim(lowering: Lowering): LanguageValue | undefined {
    if (!this.#slot.claimable) return undefined;
    const { builder } = lowering;
    const base = this.#base(lowering);
    const [offered, exit] = builder.blocks(2);
    const taken = { name: "claimed", type: int32 };
    builder.write(taken, builder.const(0));
    builder.branch("ne", builder.loadFresh(4, base, claimLock.flag), builder.const(0), offered, exit);
    lowering.enter(offered);
    // Atomic for its order: what is read from now on was not read before the flag was down, see `offer`.
    const take = () => builder.atomicCompareExchange(4, base, claimLock.flag, builder.const(1), builder.const(0));
    builder.write(taken, this.#locked(lowering, base, take));
    builder.jump(exit);
    lowering.enter(exit);
    return lowering.boolean("ne", builder.read(taken), builder.const(0));
  }

  /**
   * Sets the record's flag. Where it is set, the lock is not taken: an atomic operation that finds it so comes after all that
   * was written before, and whoever claims takes the flag by another one, and reads afterwards.
   */
  offer(lowering: Lowering): LanguageValue | undefined {
    if (!this.#slot.claimable) return undefined;
    const { builder } = lowering;
    const base = this.#base(lowering);
    const [down, exit] = builder.blocks(2);
    const flag = builder.atomicFetchAdd(4, base, claimLock.flag, builder.const(0));
    builder.branch("eq", flag, builder.const(0), down, exit);
    lowering.enter(down);
    this.#locked(lowering, base, () => builder.store(4, base, claimLock.flag, builder.const(1)));
    builder.jump(exit);
    lowering.enter(exit);
    return { kind: "undefined" };
  }

  #locked<T>(lowering: Lowering, base: Value, critical: () => T): T {
    const { builder } = lowering;
    const lock = builder.pointerAdd(base, builder.const(claimLock.lock, 64));
    builder.call(helpers.spinLock.number, [lock], int64, "memory");
    const result = critical();
    builder.call(helpers.spinUnlock.number, [lock], int64, "memory");
    lowering.effects?.acted();
    return result;
  }
}

function integerField(slot: StateSlot, name: string): (PacketField & { readonly bytes: MemorySize }) | undefined {
  const field = slot.fields.find((one) => one.name === name);
  return field && isInteger(field) ? Object.assign({ bytes: integerSizes[field.type] }, field) : undefined;
}

const isInteger = (field: StateField): field is PacketField => typeof field.type !== "object";

/** What policies tell those behind them of one packet. */
class PacketRecordView implements View {
  readonly name: string;
  readonly #slot: StateSlot;
  constructor(name: string, slot: StateSlot) {
    this.name = name;
    this.#slot = slot;
  }

  get(lowering: Lowering, property: string): LanguageValue | undefined {
    const field = integerField(this.#slot, property);
    return field && lowering.integer(field.type, lowering.packetMemory.load(lowering, this.#slot, field));
  }

  set(lowering: Lowering, property: string, value: LanguageValue, node: ts.Node): boolean {
    const field = integerField(this.#slot, property);
    if (!field) return false;
    lowering.packetMemory.store(lowering, this.#slot, field, lowering.coerce(value, field.type, node));
    return true;
  }
}

/** The `state` object of a policy. */
export class StateView implements View {
  readonly name = "state";
  readonly #slots: ReadonlyMap<string, StateSlot>;

  constructor(layout: ChainLayout, kind: Policy["kind"], index: number) {
    this.#slots = new Map(
      layout.state.flatMap((slot) =>
        slot.owners.flatMap((owner) =>
          owner.kind === kind && owner.index === index ? [[owner.name, slot] as const] : [],
        ),
      ),
    );
  }

  /** The memory behind each of some names, or of all. */
  mapsOf(names?: readonly string[]): string[] {
    return (names ?? [...this.#slots.keys()]).map((name) => `${name}=${this.#slots.get(name)?.map}`);
  }

  get(lowering: Lowering, property: string): LanguageValue | undefined {
    const slot = this.#slots.get(property);
    if (!slot) return undefined;
    const name = `state.${property}`;
    switch (slot.kind) {
      case "flows":
      case "table":
        return { kind: "view", view: new RecordMapView(name, slot) };
      case "perSocket":
        return { kind: "view", view: new SocketRecordsView(name, slot) };
      case "slots":
        return { kind: "view", view: new SlotsView(name, slot) };
      case "perPacket":
        return { kind: "view", view: new PacketRecordView(name, slot) };
      case "perCpu": {
        const record = ofThisCpu(lowering, slot);
        return { kind: "view", view: new RecordView(name, slot, () => record) };
      }
      case "shared":
        return { kind: "view", view: new RecordView(name, slot, ({ builder }) => builder.mapValue(slot.map, 0)) };
    }
  }
}

/** The record of this CPU. */
function ofThisCpu(lowering: Lowering, slot: StateSlot): Value {
  const { builder } = lowering;
  const args = [builder.map(slot.map), lowering.scratch.zeroKey];
  const record = builder.call(helpers.mapLookupElem.number, args, pointer("map", true), "memory");
  goOnWith(lowering, record);
  return record;
}
