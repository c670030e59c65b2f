/**
 * TCP options that an actor removes: overwritten with NOPs when its turn ends (paper 000, section IV-C). Until then they are
 * only marked, one bit for each byte of the option space, because a loop over the bytes of an option inside a loop over
 * options is more than the verifier follows.
 */
import type { Variable } from "../ir/builder.ts";
import { int64, type Value } from "../ir/ir.ts";
import { conceal } from "./conceal.ts";
import type { Lowering } from "./lowering.ts";
import type { ParsedPacket } from "./views/packet.ts";

const fixedHeader = 20;
const maximumOptions = 40;
/** A bit for each byte. */
const allMarks = 2 ** maximumOptions - 1;
const nop = 1;

export class Removals {
  readonly marks: Variable = { name: "removed", type: int64 };
  #used = false;

  /** Whether the actor whose turn it is marks any. */
  get used(): boolean {
    return this.#used;
  }

  /** An actor's turn begins. */
  start({ builder }: Lowering): void {
    this.#used = false;
    builder.write(this.marks, builder.const(0, 64));
  }

  /** Marks the `length` bytes at `offset` of the TCP header; both 64 bits wide. */
  mark({ builder }: Lowering, offset: Value, length: Value): void {
    this.#used = true;
    const one = builder.const(1, 64);
    const run = builder.binary("sub", builder.binary("shl", one, length), one);
    const at = builder.binary("sub", offset, builder.const(fixedHeader, 64));
    builder.write(this.marks, builder.binary("or", builder.read(this.marks), builder.binary("shl", run, at)));
  }

  /** The actor's turn ends: marked bytes become NOPs, and the checksum learns of it. */
  finish(lowering: Lowering, packet: ParsedPacket): void {
    const { builder } = lowering;
    const left: Variable = { name: "left", type: int64 };
    const index: Variable = { name: "byte", type: int64 };
    const [head, body, overwrite, write, next, exit] = builder.blocks(6);
    // The verifier must not know whether there are marks, or it would follow every way to here on its own.
    const marked = conceal(lowering, builder.read(this.marks), builder.read(packet.tcp), allMarks, exit);
    builder.write(left, marked);
    builder.write(index, builder.const(0, 64));
    builder.jump(head);
    builder.enter(head);
    const [marks, i] = [builder.read(left), builder.read(index)];
    const some = builder.block();
    builder.branch("ne", marks, builder.const(0, 64), some, exit);
    lowering.enter(some);
    builder.branch("ult", i, builder.const(maximumOptions, 64), body, exit);
    lowering.enter(body);
    builder.branch("test", marks, builder.const(1, 64), overwrite, next);

    lowering.enter(overwrite);
    const tcp = builder.read(packet.tcp);
    const at = builder.pointerAdd(tcp, conceal(lowering, i, tcp, maximumOptions, exit));
    builder.check(at, builder.read(packet.end), fixedHeader + 1, write, exit);
    lowering.enter(write);
    const after = builder.const(nop);
    const odd = builder.truncate(builder.binary("and", i, builder.const(1, 64)));
    packet.checksum.replaceByte(lowering, builder.load(1, at, fixedHeader), after, odd);
    builder.store(1, at, fixedHeader, after);
    builder.jump(next);

    lowering.enter(next);
    builder.write(left, builder.binary("lshr", marks, builder.const(1, 64)));
    builder.write(index, builder.binary("add", i, builder.const(1, 64)));
    builder.jump(head);
    builder.seal(head);
    lowering.enter(exit);
  }
}
