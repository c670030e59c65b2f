/**
 * What becomes of a request for a segment at the end of a chain. Everything goes by offsets, because each change of the
 * packet invalidates all pointers into it. Room is made at the tail, so that the TCP header stays where it is: a checksum
 * that the kernel has still to fill in (CHECKSUM_PARTIAL) is then filled in right.
 */
import { helpers } from "../../bpf/helpers.ts";
import type { Variable } from "../ir/builder.ts";
import { int32, int64, type Block, type Value } from "../ir/ir.ts";
import { injectionBuffer, maximumPayload } from "../injection-buffer.ts";
import { frameEdit, type FrameEdit } from "./frame-edit.ts";
import { hooks } from "./hooks.ts";
import type { Lowering } from "./lowering.ts";
import { folded, ownMark, skbField, swapped } from "./skb.ts";
import type { ParsedPacket } from "./views/packet.ts";

export type InjectionKind = "insert" | "duplicate" | "answer";

export const maximumOption = 40;
export const maximumHeader = 60;
/** NOP NOP timestamps, as most stacks write it at the head of the options (RFC 7323, appendix A); the word as loaded. */
export const timestamps = { length: 12, head: 0x0a08_0101 } as const;

const fixedHeader = 20;
const ackFlag = 0x10;
const tcp = 6;
/** XDP_TX: out of the interface it came by. */
const xdpTransmit = 3;

/** The work at the end of a chain: each method is one kind of request. */
export class Segment {
  readonly #lowering: Lowering;
  readonly #packet: ParsedPacket;
  readonly #exit: Block;
  readonly #memory: Value;
  readonly #edit: FrameEdit;
  /** Bytes of option, of the TCP header before, of the IP packet before; offset of the TCP header. */
  readonly #length: Value;
  readonly #before: Value;
  readonly #total: Value;
  readonly #tcpAt: Value;
  readonly #request: Value;
  readonly #isV4: Value;

  /** @param isV4 1 or 0: the packet's own bytes may be out of reach by now */
  constructor(lowering: Lowering, packet: ParsedPacket, isV4: Value, memory: Value, request: Value, exit: Block) {
    const { builder } = lowering;
    this.#lowering = lowering;
    this.#packet = packet;
    this.#exit = exit;
    this.#request = request;
    this.#isV4 = isV4;
    this.#memory = memory;
    this.#edit = frameEdit(lowering, packet.hook, packet.context, memory);
    this.#length = this.#bounded(
      builder.binary("and", builder.binary("lshr", request, builder.const(8)), builder.const(0xff)),
      4,
      maximumOption,
    );
    this.#before = this.#bounded(builder.read(packet.tcpLength), fixedHeader, maximumHeader);
    this.#total = builder.read(packet.totalLength);
    this.#tcpAt = builder.binary("add", builder.read(packet.ipOffset), builder.read(packet.ipLength));
    this.#load(this.#tcpAt, this.#at(injectionBuffer.before), this.#before);
  }

  /** A 32-bit value the verifier is to know as within bounds. */
  #bounded(value: Value, least: number, most: number): Value {
    const { builder } = this.#lowering;
    const [notSmall, fine] = [builder.block(), builder.block()];
    builder.branch("uge", value, builder.const(least), notSmall, this.#exit);
    this.#lowering.enter(notSmall);
    builder.branch("ule", value, builder.const(most), fine, this.#exit);
    this.#lowering.enter(fine);
    return value;
  }

  #at(offset: number): Value {
    const { builder } = this.#lowering;
    return offset === 0 ? this.#memory : builder.pointerAdd(this.#memory, builder.const(offset, 64));
  }

  #resize(total: Value): void {
    const { builder } = this.#lowering;
    this.#edit.resize(builder.binary("add", builder.read(this.#packet.ipOffset), total), this.#exit);
  }

  #load(offset: Value, to: Value, length: Value): void {
    this.#edit.load(offset, to, length, this.#exit);
  }

  /** Brings the IP header's length to that of a TCP segment of `after` bytes. */
  #setIpLength(after: Value): void {
    const { builder } = this.#lowering;
    const { length, addresses } = injectionBuffer;
    const ipLength = builder.read(this.#packet.ipLength);
    const ipAt = builder.read(this.#packet.ipOffset);
    const [v4, v6, exit] = builder.blocks(3);
    builder.branch("ne", this.#isV4, builder.const(0), v4, v6);
    this.#lowering.enter(v4);
    const lengthAt = builder.binary("add", ipAt, builder.const(2));
    this.#load(lengthAt, this.#at(addresses), builder.const(2));
    const before = builder.load(2, this.#memory, addresses);
    const wire = swapped(this.#lowering, builder.binary("add", ipLength, after));
    builder.store(2, this.#memory, length, wire);
    this.#edit.store(lengthAt, this.#at(length), builder.const(2));
    this.#edit.replaceWord("ip", builder.binary("add", ipAt, builder.const(10)), before, wire);
    builder.jump(exit);
    this.#lowering.enter(v6);
    const payload = builder.binary("add", builder.binary("sub", ipLength, builder.const(40)), after);
    builder.store(2, this.#memory, length, swapped(this.#lowering, payload));
    this.#edit.store(builder.binary("add", ipAt, builder.const(4)), this.#at(length), builder.const(2));
    builder.jump(exit);
    this.#lowering.enter(exit);
  }

  /** The checksum's pseudo-header has the TCP segment's length too. */
  #setPseudoLength(before: Value, after: Value): void {
    const [from, to] = [before, after].map((length) => swapped(this.#lowering, length));
    this.#edit.replaceWord("pseudoHeader", this.#checksumAt(), from, to);
  }

  /** The checksum of a segment without payload, whose own field is 0. */
  #wholeChecksum(header: Value, length: Value): Value {
    const { builder } = this.#lowering;
    const { addresses } = injectionBuffer;
    const ipAt = builder.read(this.#packet.ipOffset);
    const sum: Variable = { name: "sum", type: int64 };
    const [v4, v6, exit] = builder.blocks(3);
    const none = builder.const(0, 64);
    // TCP's number and the length, as words on the wire.
    const seed = builder.binary("add", swapped(this.#lowering, length), swapped(this.#lowering, builder.const(tcp)));
    const addUp = (at: number, size: number): void => {
      this.#load(builder.binary("add", ipAt, builder.const(at)), this.#at(addresses), builder.const(size));
      builder.write(sum, this.#difference(none, none, this.#at(addresses), builder.const(size), seed));
      builder.jump(exit);
    };
    builder.branch("ne", this.#isV4, builder.const(0), v4, v6);
    this.#lowering.enter(v4);
    addUp(12, 8);
    this.#lowering.enter(v6);
    addUp(8, 32);
    this.#lowering.enter(exit);
    const all = this.#difference(none, none, header, length, builder.truncate(builder.read(sum)));
    return folded(this.#lowering, all);
  }

  #checksumAt(): Value {
    const { builder } = this.#lowering;
    return builder.binary("add", this.#tcpAt, builder.const(16));
  }

  #difference(from: Value, fromLength: Value, to: Value, toLength: Value, seed: Value): Value {
    const { builder } = this.#lowering;
    const wide = [from, fromLength, to, toLength, seed].map((arg) =>
      arg.type === int32 ? builder.zeroExtend(arg) : arg,
    );
    return builder.call(helpers.csumDiff.number, wide, int64, "memory");
  }

  insert(): void {
    const { builder } = this.#lowering;
    const segment = builder.binary("sub", this.#total, builder.read(this.#packet.ipLength));
    const payload = builder.binary("sub", segment, this.#before);
    const end = builder.binary("add", this.#tcpAt, this.#before);
    this.#ifAny(payload, (bytes) => this.#load(end, this.#at(injectionBuffer.payload), bytes));
    this.#resize(builder.binary("add", this.#total, this.#length));
    const behind = builder.binary("add", end, this.#length);
    this.#ifAny(payload, (bytes) => this.#edit.store(behind, this.#at(injectionBuffer.payload), bytes));
    // In front of the others: what follows an end of the option list would not be read.
    const options = builder.binary("add", this.#tcpAt, builder.const(fixedHeader));
    this.#edit.store(options, this.#at(injectionBuffer.option), this.#length);
    const others = builder.binary("sub", this.#before, builder.const(fixedHeader));
    this.#ifAny(others, (bytes) =>
      this.#edit.store(
        builder.binary("add", options, this.#length),
        this.#at(injectionBuffer.before + fixedHeader),
        bytes,
      ),
    );
    // The header's length in words is the upper half of byte 12.
    const words = builder.load(2, this.#memory, injectionBuffer.before + 12);
    const more = builder.binary("add", words, builder.binary("shl", this.#length, builder.const(2)));
    builder.store(2, this.#memory, injectionBuffer.before + 12, more);
    const wordsAt = builder.binary("add", this.#tcpAt, builder.const(12));
    this.#edit.store(wordsAt, this.#at(injectionBuffer.before + 12), builder.const(2));
    const seed = builder.binary("add", more, builder.binary("xor", words, builder.const(0xffff)));
    const none = builder.const(0, 64);
    this.#edit.addDifference(
      this.#checksumAt(),
      this.#difference(none, none, this.#at(injectionBuffer.option), this.#length, seed),
    );
    const longer = builder.binary("add", segment, this.#length);
    this.#setIpLength(longer);
    this.#setPseudoLength(segment, longer);
  }

  /** Only where there is payload: helpers take no empty memory. */
  #ifAny(payload: Value, action: (bytes: Value) => void): void {
    const { builder } = this.#lowering;
    const [some, exit] = [builder.block(), builder.block()];
    builder.branch("ne", payload, builder.const(0), some, exit);
    this.#lowering.enter(some);
    // The same number, of which the verifier knows that it is not 0: it does not learn that from a comparison.
    const less = builder.binary("and", builder.binary("sub", payload, builder.const(1)), builder.const(0x3fff));
    const bytes = builder.binary("add", less, builder.const(1));
    const small = builder.block();
    builder.branch("ule", bytes, builder.const(maximumPayload), small, this.#exit);
    this.#lowering.enter(small);
    action(bytes);
    builder.jump(exit);
    this.#lowering.enter(exit);
  }

  /** Sends a pure ACK with the option beside the packet, which goes on as it is. */
  duplicate(): void {
    const { builder } = this.#lowering;
    const segment = builder.binary("sub", this.#total, builder.read(this.#packet.ipLength));
    const [data, pure, exit] = builder.blocks(3);
    builder.branch("ne", segment, this.#before, data, pure);
    this.#lowering.enter(pure);
    this.#copyAndRestore(segment);
    builder.jump(exit);
    this.#lowering.enter(data);
    // What is cut off cannot be put back: the packet itself goes on as the copy.
    this.#clone(builder.const(0));
    this.#become("duplicate");
    builder.jump(exit);
    this.#lowering.enter(exit);
  }

  /** Sends a copy of the packet as it is now, marked as the chain's own; `mark` is what the packet has again afterwards. */
  #clone(mark: Value): void {
    const { builder } = this.#lowering;
    const { context, hook } = this.#packet;
    const intoStack = builder.const(hooks[hook].direction === "ingress" ? 1 : 0, 64);
    builder.store(4, context, skbField.mark, builder.const(ownMark));
    const ifindex = builder.zeroExtend(builder.load(4, context, skbField.ifindex));
    builder.call(helpers.cloneRedirect.number, [context, ifindex, intoStack], int64, "packet");
    builder.store(4, context, skbField.mark, mark);
  }

  #copyAndRestore(segment: Value): void {
    const { builder } = this.#lowering;
    this.#become("duplicate");
    this.#clone(builder.load(4, this.#packet.context, skbField.mark));
    this.#resize(this.#total);
    this.#setIpLength(segment);
    this.#edit.store(this.#tcpAt, this.#at(injectionBuffer.before), this.#before);
  }

  /** The packet becomes a pure ACK with the option and goes back to where it came from. */
  answer(): void {
    const { builder } = this.#lowering;
    const { context, hook } = this.#packet;
    this.#become("answer");
    this.#swap(builder.const(0), 6);
    const ipAt = builder.read(this.#packet.ipOffset);
    const [v4, v6, exit] = builder.blocks(3);
    builder.branch("ne", this.#isV4, builder.const(0), v4, v6);
    this.#lowering.enter(v4);
    this.#swap(builder.binary("add", ipAt, builder.const(12)), 4);
    builder.jump(exit);
    this.#lowering.enter(v6);
    this.#swap(builder.binary("add", ipAt, builder.const(8)), 16);
    builder.jump(exit);
    this.#lowering.enter(exit);
    if (hook === "xdp") return builder.return(builder.const(xdpTransmit));
    builder.store(4, context, skbField.mark, builder.const(ownMark));
    // From where packets leave, back is into the stack, as if it had arrived.
    const intoStack = builder.const(hooks[hook].direction === "egress" ? 1 : 0, 64);
    const back = [builder.zeroExtend(builder.load(4, context, skbField.ifindex)), intoStack];
    builder.return(builder.truncate(builder.call(helpers.redirect.number, back, int64, "memory")));
  }

  /** Exchanges two fields of `size` bytes that follow one another: no checksum changes by that. */
  #swap(at: Value, size: number): void {
    const { builder } = this.#lowering;
    const length = builder.const(size);
    const { addresses } = injectionBuffer;
    this.#load(at, this.#at(addresses), builder.const(2 * size));
    this.#edit.store(at, this.#at(addresses + size), length);
    this.#edit.store(builder.binary("add", at, length), this.#at(addresses), length);
  }

  /**
   * Makes the packet a pure ACK with its timestamps, if it has any, and the option; the way back for an answer: ports and
   * timestamps change sides, and what was acknowledged is the next to send.
   */
  #become(kind: "duplicate" | "answer"): void {
    const { builder } = this.#lowering;
    const { before } = injectionBuffer;
    const answers = kind === "answer";
    // Where the new header begins in the buffer: it ends where the option's bytes begin.
    const start: Variable = { name: "start", type: int64 };
    const [long, present, chosen] = builder.blocks(3);
    builder.write(start, builder.const(timestamps.length, 64));
    builder.branch("uge", this.#before, builder.const(fixedHeader + timestamps.length), long, chosen);
    this.#lowering.enter(long);
    const head = builder.load(4, this.#memory, before + fixedHeader);
    builder.branch("eq", head, builder.const(timestamps.head), present, chosen);
    this.#lowering.enter(present);
    const [value, echo] = answers ? [8, 4] : [4, 8];
    for (const [to, from] of [
      [0, 0],
      [4, value],
      [8, echo],
    ]) {
      const word = builder.load(4, this.#memory, before + fixedHeader + from);
      builder.store(4, this.#memory, fixedHeader + to, word);
    }
    builder.write(start, builder.const(0, 64));
    builder.jump(chosen);
    this.#lowering.enter(chosen);

    const header = builder.pointerAdd(this.#memory, builder.read(start));
    const taken = builder.truncate(
      builder.binary("sub", builder.const(injectionBuffer.option, 64), builder.read(start)),
    );
    const length = builder.binary("add", taken, this.#length);
    const copy = (size: 2 | 4, to: number, from: number): void =>
      builder.store(size, header, to, builder.load(size, this.#memory, before + from));
    const [sourcePort, destinationPort] = answers ? [2, 0] : [0, 2];
    copy(2, 0, sourcePort);
    copy(2, 2, destinationPort);
    const [sequence, acknowledgment] = answers ? [8, 4] : [4, 8];
    const segment = builder.binary("sub", this.#total, builder.read(this.#packet.ipLength));
    if (answers || hooks[this.#packet.hook].direction === "ingress") {
      copy(4, 4, sequence);
    } else {
      // What leaves goes first, and its receiver takes no older numbers than those it had.
      const payload = builder.binary("sub", segment, this.#before);
      const first = builder.swap(32, builder.load(4, this.#memory, before + sequence));
      builder.store(4, header, 4, builder.swap(32, builder.binary("add", first, payload)));
    }
    copy(4, 8, acknowledgment);
    builder.store(1, header, 12, builder.binary("shl", length, builder.const(2)));
    builder.store(1, header, 13, builder.const(ackFlag));
    if (answers) {
      const window = builder.binary("lshr", this.#request, builder.const(16));
      builder.store(2, header, 14, swapped(this.#lowering, window));
    } else {
      copy(2, 14, 14);
    }
    builder.store(4, header, 16, builder.const(0));
    const partial = this.#edit.isPartial(this.#checksumAt(), this.#at(injectionBuffer.length));
    const checksum: Variable = { name: "checksum", type: int32 };
    const [left, whole, ready] = builder.blocks(3);
    builder.branch("ne", partial, builder.const(0), left, whole);
    this.#lowering.enter(left);
    builder.write(checksum, builder.load(2, this.#memory, before + 16));
    builder.jump(ready);
    this.#lowering.enter(whole);
    builder.write(checksum, this.#wholeChecksum(header, length));
    builder.jump(ready);
    this.#lowering.enter(ready);
    builder.store(2, header, 16, builder.read(checksum));
    this.#resize(builder.binary("add", builder.read(this.#packet.ipLength), length));
    this.#edit.store(this.#tcpAt, header, length);
    this.#setIpLength(length);
    const [pseudo, done] = builder.blocks(2);
    builder.branch("ne", partial, builder.const(0), pseudo, done);
    this.#lowering.enter(pseudo);
    this.#setPseudoLength(segment, length);
    builder.jump(done);
    this.#lowering.enter(done);
  }
}
