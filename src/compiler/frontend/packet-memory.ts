/** Where per-packet state is kept while a packet passes the chain. */
import type { Variable } from "../ir/builder.ts";
import { int32, int64, type MemorySize, type Value } from "../ir/ir.ts";
import { integerSizes, type IntegerName } from "../../policy/types.ts";
import type { StateField, StateSlot } from "../layout.ts";
import { blur } from "./conceal.ts";
import type { Lowering } from "./lowering.ts";

export interface PacketField extends StateField {
  readonly type: IntegerName;
}

/** Access to a field: its value is as wide as its type's are (64 bits for u64 and i64, else 32). */
export interface PacketMemory {
  /** Where the parameters of members lie between the programs of a linked chain. */
  readonly memberWords?: MemberWords;
  load(lowering: Lowering, slot: StateSlot, field: PacketField): Value;
  store(lowering: Lowering, slot: StateSlot, field: PacketField, value: Value): void;
}

/** In variables of one program, for chains that are one. */
/** Parameters of the members matched, by `SET.FIELD`. */
export interface MemberWords {
  load(key: string, size: MemorySize): Value;
  /** Does nothing for those that no actor uses. */
  store(key: string, size: MemorySize, value: Value): void;
}

export class PacketVariables implements PacketMemory {
  readonly #variables = new Map<string, Variable>();

  /** A packet comes: all is zero. */
  constructor({ builder }: Lowering, slots: readonly StateSlot[]) {
    for (const slot of slots.filter(({ kind }) => kind === "perPacket"))
      for (const { name, type } of slot.fields) {
        const is64 = integerSizes[type as IntegerName] === 8;
        const variable: Variable = { name, type: is64 ? int64 : int32 };
        this.#variables.set(`${slot.map}.${name}`, variable);
        builder.write(variable, builder.const(0, is64 ? 64 : 32));
      }
  }

  load({ builder }: Lowering, slot: StateSlot, field: PacketField): Value {
    return builder.read(this.#variables.get(`${slot.map}.${field.name}`)!);
  }

  store({ builder }: Lowering, slot: StateSlot, field: PacketField, value: Value): void {
    builder.write(this.#variables.get(`${slot.map}.${field.name}`)!, value);
  }

  /** What one policy left for the next, without the ways to it: the verifier would follow the next one for each. */
  forgetWays(lowering: Lowering, readable: Value): void {
    const { builder } = lowering;
    for (const variable of this.#variables.values()) {
      const value = builder.read(variable);
      if (value.op.op === "parameter") builder.write(variable, blur(lowering, value, readable));
    }
  }
}
