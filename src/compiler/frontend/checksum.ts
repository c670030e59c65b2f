/**
 * The TCP checksum of a packet that a chain changes. Changes are only added up while policies run and applied once at the
 * end (RFC 1624): one helper call on tc, where the kernel alone knows whether the checksum is still to be filled in
 * (CHECKSUM_PARTIAL), and a few instructions on XDP.
 */
import { helpers } from "../../bpf/helpers.ts";
import type { Builder, Variable } from "../ir/builder.ts";
import { int64, type Value } from "../ir/ir.ts";
import type { Lowering } from "./lowering.ts";
import type { ParsedPacket } from "./views/packet.ts";

/** Byte offset of the checksum in the TCP header. */
const checksumOffset = 16;
/** A multiple of 0xffff above any sum of differences: 40 bytes of options in either half of a word, and a few words. */
const positiveZero = 0xffffn << 16n;

export class Checksum {
  /**
   * The sum of all new words less all old ones, signed; 0 when nothing changed. A sum that could only grow would tell the
   * verifier how often a loop went round, and it would follow each number on its own.
   */
  readonly difference: Variable = { name: "checksum_difference", type: int64 };

  start(builder: Builder): void {
    builder.write(this.difference, builder.const(0, 64));
  }

  /** A 16-bit word at an even offset changed; both as loaded. */
  replaceWord(lowering: Lowering, before: Value, after: Value): void {
    this.#add(lowering, before, after);
  }

  /** A byte changed; `odd` is 1 when it stands at an odd offset of the segment. 32-bit values. */
  replaceByte(lowering: Lowering, before: Value, after: Value, odd: Value): void {
    const { builder } = lowering;
    // In a word as loaded on a little-endian host the byte at the odd offset is the upper one.
    const shift = builder.binary("shl", odd, builder.const(3));
    this.#add(lowering, builder.binary("shl", before, shift), builder.binary("shl", after, shift));
  }

  #add({ builder }: Lowering, before: Value, after: Value): void {
    const change = builder.binary("sub", builder.zeroExtend(after), builder.zeroExtend(before));
    builder.write(this.difference, builder.binary("add", builder.read(this.difference), change));
  }

  /** Brings the packet's checksum up to date. Packet pointers may be invalid afterwards. */
  finish(lowering: Lowering, packet: ParsedPacket): void {
    const { builder } = lowering;
    const [changed, exit] = [builder.block(), builder.block()];
    const difference = builder.read(this.difference);
    builder.branch("ne", difference, builder.const(0, 64), changed, exit);
    lowering.enter(changed);
    // Made positive by a multiple of 0xffff, which is zero in one's complement.
    const positive = builder.binary("add", difference, builder.const(positiveZero, 64));
    if (packet.hook === "xdp") this.#inPlace(builder, packet, positive);
    else this.#byHelper(builder, packet, positive);
    builder.jump(exit);
    lowering.enter(exit);
  }

  #inPlace(builder: Builder, packet: ParsedPacket, difference: Value): void {
    const mask = builder.const(0xffff, 64);
    const sixteen = builder.const(16, 64);
    const tcp = builder.read(packet.tcp);
    const before = builder.zeroExtend(
      builder.binary("xor", builder.load(2, tcp, checksumOffset), builder.const(0xffff)),
    );
    let sum = builder.binary("add", before, difference);
    // Below 2^33: three steps fold it to 16 bits.
    for (let i = 0; i < 3; i++)
      sum = builder.binary("add", builder.binary("and", sum, mask), builder.binary("lshr", sum, sixteen));
    const folded = builder.truncate(builder.binary("xor", sum, mask));
    builder.store(2, tcp, checksumOffset, folded);
  }

  #byHelper(builder: Builder, packet: ParsedPacket, difference: Value): void {
    const tcpOffset = builder.binary("add", builder.read(packet.ipOffset), builder.read(packet.ipLength));
    const at = builder.zeroExtend(builder.binary("add", tcpOffset, builder.const(checksumOffset)));
    const none = builder.const(0, 64);
    // Field size 0 in the flags: the fourth argument is the difference itself.
    builder.call(helpers.l4CsumReplace.number, [packet.context, at, none, difference, none], int64, "packet");
  }
}
