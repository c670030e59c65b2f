/** `packet.ethernet`: addresses as 48-bit numbers, most significant byte first. */
import type ts from "#typescript";
import { pointer, type Value } from "../../ir/ir.ts";
import type { Variable } from "../../ir/builder.ts";
import { int64 } from "../../ir/ir.ts";
import type { Lowering } from "../lowering.ts";
import type { LanguageValue, View } from "../values.ts";
import type { ParsedPacket } from "./packet.ts";

const offsets: Readonly<Record<string, number>> = { destination: 0, source: 6 };
const headerLength = 14;

export class EthernetView implements View {
  readonly name = "packet.ethernet";
  readonly #packet: ParsedPacket;
  constructor(packet: ParsedPacket) {
    this.#packet = packet;
  }

  get(lowering: Lowering, property: string): LanguageValue | undefined {
    const offset = offsets[property];
    if (offset === undefined) return undefined;
    const { builder } = lowering;
    const result: Variable = { name: property, type: int64 };
    builder.write(result, builder.const(0, 64));
    this.#within(lowering, (frame) => {
      const upper = builder.zeroExtend(builder.swap(32, builder.load(4, frame, offset)));
      const lower = builder.zeroExtend(builder.swap(16, builder.load(2, frame, offset + 4)));
      builder.write(result, builder.binary("or", builder.binary("shl", upper, builder.const(16, 64)), lower));
    });
    return lowering.integer("u64", builder.read(result));
  }

  set(lowering: Lowering, property: string, value: LanguageValue, node: ts.Node): boolean {
    const offset = offsets[property];
    if (offset === undefined) return false;
    if (!lowering.effects) return lowering.fail("selectorEffect", node);
    const { builder } = lowering;
    const address = lowering.coerce(value, "u64", node);
    this.#within(lowering, (frame) => {
      const upper = builder.truncate(builder.binary("lshr", address, builder.const(16, 64)));
      builder.store(4, frame, offset, builder.swap(32, upper));
      builder.store(2, frame, offset + 4, builder.swap(16, builder.truncate(address)));
    });
    lowering.effects.acted();
    return true;
  }

  /** The frame begins where the context says; the prologue kept a pointer to the IP header only. */
  #within(lowering: Lowering, use: (frame: Value) => void): void {
    const { builder } = lowering;
    const { context, hook, end } = this.#packet;
    const frame = builder.load(4, context, hook === "xdp" ? 0 : 76, pointer("packet"));
    const [there, exit] = [builder.block(), builder.block()];
    builder.check(frame, builder.read(end), headerLength, there, exit);
    lowering.enter(there);
    use(frame);
    builder.jump(exit);
    lowering.enter(exit);
  }
}
