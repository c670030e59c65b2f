/** State that holds many records: by key, by socket, by number. */
import type ts from "#typescript";
import { helpers } from "../../../bpf/helpers.ts";
import { integerSizes } from "../../../policy/types.ts";
import type { StateSlot } from "../../layout.ts";
import { int64, pointer, type Value } from "../../ir/ir.ts";
import type { Variable } from "../../ir/builder.ts";
import { goOnWith, type Lowering } from "../lowering.ts";
import type { LanguageValue, View } from "../values.ts";
import { FlowView } from "./flow.ts";
import { RecordView } from "./record.ts";

/** BPF_NOEXIST (include/uapi/linux/bpf.h): an update must not overwrite what another CPU just made. */
const onlyIfAbsent = 1;

/** BPF_SK_STORAGE_GET_F_CREATE (include/uapi/linux/bpf.h): the new record is zero. */
const createRecord = 1;

abstract class RecordsView implements View {
  readonly name: string;
  protected readonly slot: StateSlot;
  constructor(name: string, slot: StateSlot) {
    this.name = name;
    this.slot = slot;
  }

  get(): undefined {
    return undefined;
  }

  abstract call(
    lowering: Lowering,
    method: string,
    args: readonly LanguageValue[],
    node: ts.Node,
  ): LanguageValue | undefined;

  /** What was looked up: a record, or nothing. */
  protected found(record: Value): LanguageValue {
    return { kind: "nullable", pointer: record, view: new RecordView(this.name, this.slot, () => record) };
  }

  protected lookUp({ builder }: Lowering, key: Value): Value {
    return builder.call(
      helpers.mapLookupElem.number,
      [builder.map(this.slot.map), key],
      pointer("map", true),
      "memory",
    );
  }
}

/** `flows` and `table`: records by key. */
export class RecordMapView extends RecordsView {
  call(lowering: Lowering, method: string, args: readonly LanguageValue[], node: ts.Node): LanguageValue | undefined {
    if (method !== "get" && method !== "getOrCreate" && method !== "delete") return undefined;
    const key = this.#key(lowering, args[0], node);
    if (!key) return undefined;
    if (method === "delete") return this.#delete(lowering, key);
    return this.found(method === "get" ? this.lookUp(lowering, key) : this.#lookUpOrCreate(lowering, key));
  }

  #key(lowering: Lowering, of: LanguageValue | undefined, node: ts.Node): Value | undefined {
    const type = this.slot.key;
    if (!type) return of?.kind === "view" && of.view instanceof FlowView ? of.view.key(lowering) : undefined;
    if (!of) return undefined;
    const key = lowering.scratch.flowKey;
    lowering.builder.store(integerSizes[type], key, 0, lowering.coerce(of, type, node));
    return key;
  }

  #lookUpOrCreate(lowering: Lowering, key: Value): Value {
    const { builder } = lowering;
    const result: Variable = { name: "record", type: pointer("map", true) };
    const [create, exit] = [builder.block(), builder.block()];
    const found = this.lookUp(lowering, key);
    builder.write(result, found);
    builder.branch("ne", found, builder.const(0, 64), exit, create);
    lowering.enter(create);
    const empty = lowering.scratch.record;
    for (let at = 0; at < this.slot.size; at += 8) builder.store(8, empty, at, builder.const(0, 64));
    const args = [builder.map(this.slot.map), key, empty, builder.const(onlyIfAbsent, 64)];
    builder.call(helpers.mapUpdateElem.number, args, int64, "memory");
    builder.write(result, this.lookUp(lowering, key));
    builder.jump(exit);
    lowering.enter(exit);
    return builder.read(result);
  }

  #delete(lowering: Lowering, key: Value): LanguageValue {
    const { builder } = lowering;
    const result = builder.call(helpers.mapDeleteElem.number, [builder.map(this.slot.map), key], int64, "memory");
    lowering.effects?.acted();
    return lowering.boolean("eq", result, builder.const(0, 64));
  }
}

/** `perSocket`: records that the kernel keeps with a socket, and drops with it. */
export class SocketRecordsView extends RecordsView {
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
    const args = [builder.map(this.slot.map), socket, builder.const(0, 64), flags];
    return this.found(builder.call(helpers.skStorageGet.number, args, pointer("map", true), "memory"));
  }

  #delete(lowering: Lowering, socket: Value): LanguageValue {
    const { builder } = lowering;
    const result = builder.call(helpers.skStorageDelete.number, [builder.map(this.slot.map), socket], int64, "memory");
    lowering.effects?.acted();
    return lowering.boolean("eq", result, builder.const(0, 64));
  }
}

/** `slots`: records by their number. */
export class SlotsView extends RecordsView {
  call(lowering: Lowering, method: string, args: readonly LanguageValue[], node: ts.Node): LanguageValue | undefined {
    if (method !== "at" || !args[0]) return undefined;
    const { builder } = lowering;
    const key = lowering.scratch.flowKey;
    builder.store(4, key, 0, lowering.coerce(args[0], "u32", node));
    return this.found(this.lookUp(lowering, key));
  }
}
