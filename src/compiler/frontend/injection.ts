/**
 * Segments that a chain adds to or makes: an option put into the packet (`insert`), a pure ACK ahead of it (`duplicate`), or
 * instead of it back to its sender (`answer`). A policy only leaves the option's bytes in a per-CPU buffer; the work is done
 * once, at the end of the chain, by helpers that know offsets rather than pointers. Room is made at the tail, so that the
 * TCP header stays where it is: a checksum that is still to be filled in (CHECKSUM_PARTIAL) is then filled in right.
 */
import type ts from "#typescript";
import { helpers } from "../../bpf/helpers.ts";
import type { Variable } from "../ir/builder.ts";
import { int32, int64, pointer, type Block, type CompareFn, type Value } from "../ir/ir.ts";
import { injectionBuffer, injectionMap, maximumPayload } from "../injection-buffer.ts";
import { alias } from "./conceal.ts";
import { hooks } from "./hooks.ts";
import type { Lowering } from "./lowering.ts";
import { maximumHeader, maximumOption, Segment, timestamps, type InjectionKind } from "./segment.ts";
export type { InjectionKind } from "./segment.ts";
import { copyBytes, writeOption } from "./saved-option.ts";
import { ownMark, skbField } from "./skb.ts";
import type { Bytes, LanguageValue } from "./values.ts";
import { payloadLength, type ParsedPacket } from "./views/packet.ts";

const kinds: Readonly<Record<InjectionKind, number>> = { insert: 1, duplicate: 2, answer: 3 };

const fixedHeader = 20;
/** FIN, SYN, RST and ACK in byte 13 of the TCP header; of a pure acknowledgment, ACK alone. */
const controlFlags = 0x17;
const ackOnly = 0x10;

type Condition = (fn: CompareFn, left: Value, right: Value) => void;

export class Injection {
  /** 0, or the kind, in bits 8 to 15 the bytes of option (a multiple of 4), in bits 16 to 31 the window of an answer. */
  readonly request: Variable = { name: "injection", type: int32 };
  readonly #used = new Set<InjectionKind>();

  start({ builder }: Lowering): void {
    builder.write(this.request, builder.const(0));
  }

  /** Says what other programs of the chain, if not this one, may ask for. */
  expect(asked: Iterable<InjectionKind>): void {
    for (const kind of asked) this.#used.add(kind);
  }

  /** Lowers a policy's request; the value says whether it can be met. */
  ask(
    lowering: Lowering,
    packet: ParsedPacket,
    kind: InjectionKind,
    bytes: Bytes,
    window: Value | undefined,
    node: ts.Node,
  ): LanguageValue {
    // XDP cannot copy a frame.
    if (packet.hook === "xdp" && kind === "duplicate") return { kind: "static", value: false };
    this.#used.add(kind);
    const { builder } = lowering;
    const done: Variable = { name: "possible", type: int32 };
    const exit = builder.block();
    builder.write(done, builder.const(0));
    const proceedIf: Condition = (fn, left, right) => {
      const next = builder.block();
      builder.branch(fn, left, right, next, exit);
      lowering.enter(next);
    };
    proceedIf("eq", builder.read(this.request), builder.const(0));
    // Nothing travels with a packet that an actor before this one dropped; an answer goes back instead of it.
    if (kind !== "answer") proceedIf("eq", builder.read(packet.verdict), builder.const(hooks[packet.hook].proceed));
    // A larger packet, whose IP header says no length, is always a merged one.
    proceedIf("ule", builder.read(packet.totalLength), builder.const(0xffff));
    const payload = payloadLength(lowering, packet);
    const headerLength = builder.read(packet.tcpLength);
    if (kind === "insert") {
      const [some, small] = [builder.block(), builder.block()];
      builder.branch("ne", payload, builder.const(0), some, small);
      lowering.enter(some);
      if (packet.hook !== "xdp") proceedIf("eq", builder.load(4, packet.context, skbField.gsoSize), builder.const(0));
      proceedIf("ule", payload, builder.const(maximumPayload));
      builder.jump(small);
      lowering.enter(small);
    } else {
      if (kind === "answer") proceedIf("eq", payload, builder.const(0));
      else this.#unmarked(lowering, packet, payload, proceedIf);
      const flags = builder.load(1, builder.read(packet.tcp), 13);
      proceedIf("eq", builder.binary("and", flags, builder.const(controlFlags)), builder.const(ackOnly));
    }
    const memory = lookUpBuffer(lowering, exit);
    const length = this.#write(lowering, memory, bytes, node, exit);
    if (kind === "insert") {
      proceedIf("ule", builder.binary("add", headerLength, length), builder.const(maximumHeader));
      this.#checkMtu(lowering, packet, payload, length, proceedIf);
    } else {
      proceedIf("ule", length, this.#roomBesideTimestamps(lowering, packet, headerLength));
    }
    lowering.effects!.acted();
    const asked = builder.binary("or", builder.const(kinds[kind]), builder.binary("shl", length, builder.const(8)));
    const shownWindow = window && builder.binary("shl", window, builder.const(16));
    builder.write(this.request, shownWindow ? builder.binary("or", asked, shownWindow) : asked);
    builder.write(done, builder.const(1));
    builder.jump(exit);
    lowering.enter(exit);
    return { kind: "boolean", value: builder.read(done) };
  }

  /** The mark of a packet with payload is lost on the way. */
  #unmarked(lowering: Lowering, packet: ParsedPacket, payload: Value, proceedIf: Condition): void {
    const { builder } = lowering;
    const [data, exit] = [builder.block(), builder.block()];
    builder.branch("ne", payload, builder.const(0), data, exit);
    lowering.enter(data);
    proceedIf("eq", builder.load(4, packet.context, skbField.mark), builder.const(0));
    builder.jump(exit);
    lowering.enter(exit);
  }

  /** A longer segment must still fit the interface it leaves by. */
  #checkMtu(lowering: Lowering, packet: ParsedPacket, payload: Value, length: Value, proceedIf: Condition): void {
    if (hooks[packet.hook].direction !== "egress") return;
    const { builder } = lowering;
    const [long, fits] = [builder.block(), builder.block()];
    builder.branch("ne", payload, builder.const(0), long, fits);
    lowering.enter(long);
    const mtu = lowering.scratch.flowKey;
    builder.store(8, mtu, 0, builder.const(0, 64));
    const none = builder.const(0, 64);
    const args = [packet.context, none, mtu, builder.zeroExtend(length), none];
    proceedIf("eq", builder.call(helpers.checkMtu.number, args, int64, "memory"), none);
    builder.jump(fits);
    lowering.enter(fits);
  }

  /** Bytes of option that fit beside the timestamps of this segment, if it has any where they usually are. */
  #roomBesideTimestamps(lowering: Lowering, packet: ParsedPacket, headerLength: Value): Value {
    const { builder } = lowering;
    const room: Variable = { name: "room", type: int32 };
    const [long, inPacket, exit] = builder.blocks(3);
    builder.write(room, builder.const(maximumOption));
    builder.branch("uge", headerLength, builder.const(fixedHeader + timestamps.length), long, exit);
    lowering.enter(long);
    const tcp = alias(lowering, builder.read(packet.tcp));
    builder.check(tcp, builder.read(packet.end), fixedHeader + timestamps.length, inPacket, exit);
    lowering.enter(inPacket);
    const some = builder.block();
    builder.branch("eq", builder.load(4, tcp, fixedHeader), builder.const(timestamps.head), some, exit);
    lowering.enter(some);
    builder.write(room, builder.const(maximumOption - timestamps.length));
    builder.jump(exit);
    lowering.enter(exit);
    return builder.read(room);
  }

  /** Puts the option into the buffer, NOPs behind it; its length rounded up to 4. */
  #write(lowering: Lowering, memory: Value, bytes: Bytes, node: ts.Node, exit: Block): Value {
    const { builder } = lowering;
    if (bytes.kind === "list") {
      const { option } = injectionBuffer;
      return builder.const(writeOption(lowering, memory, option, bytes.items, maximumOption, node));
    }
    const length = builder.load(1, bytes.at, 1);
    const [long, inRecord] = [builder.block(), builder.block()];
    builder.branch("uge", length, builder.const(2), long, exit);
    lowering.enter(long);
    // A field may have room for more than a header has.
    const most = Math.min(bytes.capacity, maximumOption);
    builder.branch("ule", length, builder.const(most), inRecord, exit);
    lowering.enter(inRecord);
    copyBytes(lowering, bytes.at, memory, injectionBuffer.option, most);
    return builder.binary("and", builder.binary("add", length, builder.const(3)), builder.const(0x3c));
  }

  /** Does what was asked for. Packet pointers are invalid afterwards. */
  finish(lowering: Lowering, packet: ParsedPacket, isV4: Value): void {
    if (this.#used.size === 0) return;
    const { builder } = lowering;
    const [asked, exit] = [builder.block(), builder.block()];
    const request = builder.read(this.request);
    builder.branch("ne", request, builder.const(0), asked, exit);
    lowering.enter(asked);
    const memory = lookUpBuffer(lowering, exit);
    const segment = new Segment(lowering, packet, isV4, memory, request, exit);
    for (const kind of this.#used) {
      const [meant, other] = [builder.block(), builder.block()];
      const isKind = builder.binary("and", request, builder.const(0xff));
      builder.branch("eq", isKind, builder.const(kinds[kind]), meant, other);
      lowering.enter(meant);
      segment[kind]();
      builder.jump(exit);
      lowering.enter(other);
    }
    builder.jump(exit);
    lowering.enter(exit);
  }
}

/** Lets segments pass that the chain made itself, without their mark; goes on with the others. */
export function passOwn(lowering: Lowering, context: Value, exit: Block): void {
  const { builder } = lowering;
  const [own, other] = [builder.block(), builder.block()];
  builder.branch("eq", builder.load(4, context, skbField.mark), builder.const(ownMark), own, other);
  lowering.enter(own);
  builder.store(4, context, skbField.mark, builder.const(0));
  builder.jump(exit);
  lowering.enter(other);
}

/** The buffer of this CPU; goes on in `missing` where there is none, which cannot be but the verifier asks. */
function lookUpBuffer(lowering: Lowering, missing: Block): Value {
  const { builder } = lowering;
  const key = lowering.scratch.flowKey;
  builder.store(4, key, 0, builder.const(0));
  const found = builder.call(
    helpers.mapLookupElem.number,
    [builder.map(injectionMap), key],
    pointer("map", true),
    "memory",
  );
  const present = builder.block();
  builder.branch("ne", found, builder.const(0, 64), present, missing);
  lowering.enter(present);
  return found;
}
