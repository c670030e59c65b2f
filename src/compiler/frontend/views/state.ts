/** State: maps of records, records that all packets share, and what lasts for one packet. */
import type ts from "#typescript";
import { helpers } from "../../../bpf/helpers.ts";
import type { Policy } from "../../../policy/policy.ts";
import type { ChainLayout, StateSlot } from "../../layout.ts";
import { pointer, type Value } from "../../ir/ir.ts";
import { goOnWith, type Lowering } from "../lowering.ts";
import type { LanguageValue, View } from "../values.ts";
import { integerField, RecordView } from "./record.ts";
import { RecordMapView, SlotsView, SocketRecordsView } from "./records.ts";

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
