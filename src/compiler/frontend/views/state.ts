/** State: `flows` maps, records in them, and records shared by the whole chain. */
import type ts from "typescript6";
import { helpers } from "../../../bpf/helpers.ts";
import { integerSizes } from "../../../policy/types.ts";
import type { StateField, StateSlot } from "../../layout.ts";
import { int64, pointer, type MemorySize, type Value } from "../../ir/ir.ts";
import type { Variable } from "../../ir/builder.ts";
import type { Lowering } from "../lowering.ts";
import type { LanguageValue, View } from "../values.ts";
import { FlowView } from "./flow.ts";

/** BPF_NOEXIST: an update must not overwrite what another CPU just made. */
const onlyIfAbsent = 1;

export class FlowMapView implements View {
  readonly name: string;
  readonly #slot: StateSlot;
  constructor(slot: StateSlot) {
    this.name = `state.${slot.name}`;
    this.#slot = slot;
  }

  get(): undefined {
    return undefined;
  }

  call(lowering: Lowering, method: string, args: readonly LanguageValue[]): LanguageValue | undefined {
    if (method !== "get" && method !== "getOrCreate") return undefined;
    const [flow] = args;
    if (flow?.kind !== "view" || !(flow.view instanceof FlowView)) return undefined;
    const key = flow.view.key(lowering);
    const found = method === "get" ? this.#lookUp(lowering, key) : this.#lookUpOrCreate(lowering, key);
    return { kind: "nullable", pointer: found, view: new RecordView(this.name, this.#slot.fields, () => found) };
  }

  #lookUp({ builder }: Lowering, key: Value): Value {
    return builder.call(
      helpers.mapLookupElem.number,
      [builder.map(this.#slot.map), key],
      pointer("map", true),
      "memory",
    );
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
}

/** A record: its fields at offsets from a pointer. Additions to 4- and 8-byte fields are atomic. */
export class RecordView implements View {
  readonly name: string;
  readonly #fields: readonly StateField[];
  readonly #base: (lowering: Lowering) => Value;
  constructor(name: string, fields: readonly StateField[], base: (lowering: Lowering) => Value) {
    this.name = name;
    this.#fields = fields;
    this.#base = base;
  }

  #field(property: string): (StateField & { bytes: MemorySize }) | undefined {
    const field = this.#fields.find(({ name }) => name === property);
    return field && { ...field, bytes: integerSizes[field.type] };
  }

  get(lowering: Lowering, property: string): LanguageValue | undefined {
    const field = this.#field(property);
    return (
      field && lowering.integer(field.type, lowering.builder.load(field.bytes, this.#base(lowering), field.offset))
    );
  }

  set(lowering: Lowering, property: string, value: LanguageValue, node: ts.Node): boolean {
    const field = this.#field(property);
    if (!field) return false;
    lowering.builder.store(field.bytes, this.#base(lowering), field.offset, lowering.coerce(value, field.type, node));
    lowering.effects?.acted();
    return true;
  }

  add(lowering: Lowering, property: string, value: LanguageValue, node: ts.Node): boolean {
    const field = this.#field(property);
    if (!field || field.bytes < 4) return false;
    const amount = lowering.coerce(value, field.type, node);
    lowering.builder.atomicAdd(field.bytes as 4 | 8, this.#base(lowering), field.offset, amount);
    lowering.effects?.acted();
    return true;
  }
}

/** The `state` object of an actor. */
export class StateView implements View {
  readonly name = "state";
  readonly #slots: readonly StateSlot[];
  constructor(slots: readonly StateSlot[]) {
    this.#slots = slots;
  }

  get(_lowering: Lowering, property: string): LanguageValue | undefined {
    const slot = this.#slots.find(({ name }) => name === property);
    if (!slot) return undefined;
    if (slot.kind === "flows") return { kind: "view", view: new FlowMapView(slot) };
    const base = ({ builder }: Lowering): Value => builder.mapValue(slot.map, 0);
    return { kind: "view", view: new RecordView(`state.${slot.name}`, slot.fields, base) };
  }
}
