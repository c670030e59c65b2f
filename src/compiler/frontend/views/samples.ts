/** What the kernel tells of an ACK: `struct ack_sample`, and `struct rate_sample`, which is only handed on. */
import { integerSizes, type IntegerName } from "../../../policy/types.ts";
import { int32, type Value } from "../../ir/ir.ts";
import type { Lowering } from "../lowering.ts";
import type { LanguageValue, View } from "../values.ts";

const ackFields: Readonly<Record<string, readonly [field: string, type: IntegerName]>> = {
  packetsAcked: ["pkts_acked", "u32"],
  rttUs: ["rtt_us", "i32"],
  inFlight: ["in_flight", "u32"],
};

export class SampleView implements View {
  readonly name = "sample";
  readonly pointer: Value;
  readonly #fields: typeof ackFields;
  constructor(kind: "ackSample" | "rateSample", pointer: Value) {
    this.pointer = pointer;
    this.#fields = kind === "ackSample" ? ackFields : {};
  }

  get(lowering: Lowering, property: string): LanguageValue | undefined {
    if (!Object.hasOwn(this.#fields, property)) return undefined;
    const [field, type] = this.#fields[property];
    const kernelField = { struct: "ack_sample", field, size: integerSizes[type] };
    return lowering.integer(type, lowering.builder.load(4, this.pointer, 0, int32, kernelField));
  }
}
