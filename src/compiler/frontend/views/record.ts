/** Records: their fields at offsets from a pointer, atomic operations on them, and their flag. */
import type ts from "#typescript";
import { helpers } from "../../../bpf/helpers.ts";
import { integerSizes } from "../../../policy/types.ts";
import { claimLock, type StateField, type StateSlot } from "../../layout.ts";
import { int32, int64, type MemorySize, type Value } from "../../ir/ir.ts";
import type { Lowering } from "../lowering.ts";
import type { PacketField } from "../packet-memory.ts";
import type { LanguageValue, View } from "../values.ts";

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

/** A field that is a number, with its size; none where there is no such one. */
export function integerField(
  slot: StateSlot,
  name: string,
): (PacketField & { readonly bytes: MemorySize }) | undefined {
  const field = slot.fields.find((one) => one.name === name);
  return field && isInteger(field) ? Object.assign({ bytes: integerSizes[field.type] }, field) : undefined;
}

const isInteger = (field: StateField): field is PacketField => typeof field.type !== "object";
