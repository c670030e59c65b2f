/**
 * The prologue of a packet program: finds the IP and TCP headers once for the whole chain. What is no complete, unfragmented
 * TCP segment goes to `other` untouched: VLAN tags (up to two), IPv4 options and IPv6 extension headers are walked, lengths
 * that lie are refused.
 */
import { helpers } from "../../bpf/helpers.ts";
import type { Variable } from "../ir/builder.ts";
import { int32, int64, pointer, type Block, type Value } from "../ir/ir.ts";
import { Checksum } from "./checksum.ts";
import { Forwarding } from "./ending.ts";
import { hooks, type PacketHook } from "./hooks.ts";
import { conceal } from "./conceal.ts";
import { Injection } from "./injection.ts";
import type { Lowering } from "./lowering.ts";
import { Removals } from "./removals.ts";
import { frameLength, type ParsedPacket } from "./views/packet.ts";

/** Byte offsets of `data` and `data_end` in the context: struct xdp_md, struct __sk_buff. */
export const packetFields = { xdp: [0, 4], tc: [76, 80] } as const;

const ethernet = 14;
const vlanTag = 4;
const maximumTags = 2;
/** From the frame's start to the IP header. */
export const maximumIpOffset = ethernet + vlanTag * maximumTags;
export const minimumV4 = 20;
export const minimumTcp = 20;
const v6Header = 40;
/** Bytes pulled into the linear part of a packet whose headers are not there: all that the parser may look at. */
const pulled = 256;
const maximumExtensions = 8;
/** Bytes of IPv6 header with extension headers; what has more is left alone. */
export const maximumV6Headers = 4096;

/** Ethertypes as loaded from a packet on a little-endian host. */
const ethertype = { v4: 0x0008, v6: 0xdd86, vlan: 0x0081, serviceVlan: 0xa888 } as const;
const protocol = { hopByHop: 0, tcp: 6, routing: 43, destination: 60 } as const;
/**
 * Extension headers that are walked, a bit for each. Not the authentication header: what it protects must not be changed.
 * Nor fragments, atomic ones included.
 */
const extensionHeaders = [protocol.hopByHop, protocol.routing, protocol.destination].reduce(
  (bits, number) => bits | (1n << BigInt(number)),
  0n,
);

/** A packet of which nothing is known yet. */
export function unparsed(hook: PacketHook, context: Value): ParsedPacket {
  return {
    hook,
    context,
    ip: { name: "ip", type: pointer("packet") },
    tcp: { name: "tcp", type: pointer("packet") },
    end: { name: "end", type: pointer("packetEnd") },
    ipLength: { name: "ip_length", type: int32 },
    ipOffset: { name: "ip_offset", type: int32 },
    totalLength: { name: "total_length", type: int32 },
    tcpLength: { name: "tcp_length", type: int32 },
    checksum: new Checksum(),
    removals: new Removals(),
    injection: new Injection(),
    forwarding: new Forwarding(),
    verdict: { name: "verdict", type: int32 },
  };
}

export function parsePacketProgram(lowering: Lowering, hook: PacketHook, context: Value, other: Block): ParsedPacket {
  const { builder } = lowering;
  const packet = unparsed(hook, context);
  packet.checksum.start(builder);
  packet.injection.start(lowering);
  packet.forwarding.start(builder);
  builder.write(packet.verdict, builder.const(hooks[hook].proceed));
  const attempt: Variable = { name: "pulled", type: int32 };
  builder.write(attempt, builder.const(0));

  const [start, tooShort, v4, v6, tcp, done] = builder.blocks(6);
  builder.jump(start);
  builder.enter(start);
  const [dataField, endField] = hook === "xdp" ? packetFields.xdp : packetFields.tc;
  const data = builder.load(4, context, dataField, pointer("packet"));
  const end = builder.load(4, context, endField, pointer("packetEnd"));
  builder.write(packet.end, end);

  // The shortest frame that can carry TCP: one check serves all of the common headers.
  linkLayer(lowering, packet, data, { v4, v6, tooShort, other });
  lowering.enter(v4);
  parseV4(lowering, packet, tcp, other);
  lowering.enter(v6);
  parseV6(lowering, packet, { tcp, tooShort, other });
  lowering.enter(tcp);
  parseTcp(lowering, packet, { done, tooShort, other });

  lowering.enter(tooShort);
  if (hook === "xdp") builder.jump(other);
  else pullAndRetry(lowering, context, attempt, start, other);
  builder.seal(start);
  lowering.enter(done);
  lowering.manyWays = true;
  return packet;
}

function linkLayer(
  lowering: Lowering,
  packet: ParsedPacket,
  data: Value,
  to: { v4: Block; v6: Block; tooShort: Block; other: Block },
): void {
  const { builder } = lowering;
  const end = builder.read(packet.end);
  const found: Variable = { name: "ip_offset", type: int64 };
  const [taggedV4, taggedV6] = [builder.block(), builder.block()];
  for (let tags = 0; tags <= maximumTags; tags++) {
    const offset = ethernet + vlanTag * tags;
    const enough = builder.block();
    builder.check(data, end, offset + minimumV4 + minimumTcp, enough, to.tooShort);
    lowering.enter(enough);
    if (tags === 0) setIp(lowering, packet, data, builder.const(offset, 64));
    builder.write(found, builder.const(offset, 64));
    const type = builder.load(2, data, offset - 2);
    const [notV4, notV6, notVlan, tagged] = builder.blocks(4);
    builder.branch("eq", type, builder.const(ethertype.v4), tags === 0 ? to.v4 : taggedV4, notV4);
    lowering.enter(notV4);
    const last = tags === maximumTags;
    builder.branch("eq", type, builder.const(ethertype.v6), tags === 0 ? to.v6 : taggedV6, last ? to.other : notV6);
    if (last) break;
    lowering.enter(notV6);
    builder.branch("eq", type, builder.const(ethertype.vlan), tagged, notVlan);
    lowering.enter(notVlan);
    builder.branch("eq", type, builder.const(ethertype.serviceVlan), tagged, to.other);
    lowering.enter(tagged);
  }
  for (const [block, next] of [
    [taggedV4, to.v4],
    [taggedV6, to.v6],
  ] as const) {
    lowering.enter(block);
    const offset = conceal(lowering, builder.read(found), data, maximumIpOffset, to.other);
    setIp(lowering, packet, data, offset);
    const enough = builder.block();
    builder.check(builder.read(packet.ip), end, minimumV4 + minimumTcp, enough, to.tooShort);
    lowering.enter(enough);
    builder.jump(next);
  }
}

function setIp(lowering: Lowering, packet: ParsedPacket, data: Value, offset: Value): void {
  const { builder } = lowering;
  builder.write(packet.ip, builder.pointerAdd(data, offset));
  builder.write(packet.ipOffset, builder.truncate(offset));
}

function parseV4(lowering: Lowering, packet: ParsedPacket, tcp: Block, other: Block): void {
  const { builder } = lowering;
  const ip = builder.read(packet.ip);
  const require = (fn: "eq" | "uge", left: Value, right: number): void => {
    const next = builder.block();
    builder.branch(fn, left, builder.const(right), next, other);
    lowering.enter(next);
  };
  const first = builder.load(1, ip, 0);
  require("eq", builder.binary("and", first, builder.const(0xf0)), 0x40);
  const length = builder.binary("shl", builder.binary("and", first, builder.const(0x0f)), builder.const(2));
  require("uge", length, minimumV4);
  require("eq", builder.load(1, ip, 9), protocol.tcp);
  // More-fragments flag or a fragment offset, in network order as loaded.
  require("eq", builder.binary("and", builder.load(2, ip, 6), builder.const(0xff3f)), 0);
  builder.write(packet.ipLength, length);
  builder.write(packet.totalLength, builder.swap(16, builder.load(2, ip, 2)));
  builder.jump(tcp);
}

function parseV6(lowering: Lowering, packet: ParsedPacket, to: { tcp: Block; tooShort: Block; other: Block }): void {
  const { builder } = lowering;
  const ip = builder.read(packet.ip);
  const end = builder.read(packet.end);
  const whole = builder.block();
  builder.check(ip, end, v6Header + minimumTcp, whole, to.tooShort);
  lowering.enter(whole);
  const isV6 = builder.block();
  builder.branch(
    "eq",
    builder.binary("and", builder.load(1, ip, 0), builder.const(0xf0)),
    builder.const(0x60),
    isV6,
    to.other,
  );
  lowering.enter(isV6);
  totalLengthV6(lowering, packet, ip);

  const next: Variable = { name: "next_header", type: int32 };
  const turn: Variable = { name: "extensions", type: int32 };
  const length: Variable = { name: "length", type: int64 };
  builder.write(next, builder.load(1, ip, 6));
  builder.write(turn, builder.const(0));
  builder.write(length, builder.const(v6Header, 64));
  const [head, extension, known, isTcp] = builder.blocks(4);
  builder.jump(head);
  builder.enter(head);
  const header = builder.read(next);
  const offset = builder.read(length);
  builder.branch("eq", header, builder.const(protocol.tcp), isTcp, extension);

  lowering.enter(extension);
  // One test for all of them: the verifier follows each branch of a loop again in every turn.
  const small = builder.block();
  builder.branch("ult", header, builder.const(64), small, to.other);
  lowering.enter(small);
  const bit = builder.binary("shl", builder.const(1, 64), builder.zeroExtend(header));
  builder.branch("test", bit, builder.const(extensionHeaders, 64), known, to.other);

  lowering.enter(known);
  const few = builder.block();
  const turns = builder.read(turn);
  builder.branch("ult", turns, builder.const(maximumExtensions), few, to.other);
  lowering.enter(few);
  const at = builder.pointerAdd(ip, offset);
  const inPacket = builder.block();
  builder.check(at, end, 8, inPacket, to.tooShort);
  lowering.enter(inPacket);
  const units = builder.binary("add", builder.zeroExtend(builder.load(1, at, 1)), builder.const(1, 64));
  const grown = builder.binary("add", offset, builder.binary("shl", units, builder.const(3, 64)));
  builder.write(next, builder.load(1, at, 0));
  builder.write(turn, builder.binary("add", turns, builder.const(1)));
  builder.write(length, grown);
  builder.jump(head);
  builder.seal(head);

  lowering.enter(isTcp);
  const length64 = conceal(lowering, offset, builder.read(packet.ip), maximumV6Headers, to.other);
  builder.write(packet.ipLength, builder.truncate(length64));
  builder.jump(to.tcp);
}

/** The payload length and the header's; 0, which says nothing, stays 0. */
function totalLengthV6(lowering: Lowering, packet: ParsedPacket, ip: Value): void {
  const { builder } = lowering;
  const [said, exit] = [builder.block(), builder.block()];
  const payload = builder.swap(16, builder.load(2, ip, 4));
  builder.write(packet.totalLength, builder.const(0));
  builder.branch("ne", payload, builder.const(0), said, exit);
  lowering.enter(said);
  builder.write(packet.totalLength, builder.binary("add", payload, builder.const(v6Header)));
  builder.jump(exit);
  lowering.enter(exit);
}

function parseTcp(lowering: Lowering, packet: ParsedPacket, to: { done: Block; tooShort: Block; other: Block }): void {
  const { builder } = lowering;
  const end = builder.read(packet.end);
  const ipLength = builder.read(packet.ipLength);
  const tcp = builder.pointerAdd(builder.read(packet.ip), builder.zeroExtend(ipLength));
  const [fixed, sane, fits, said] = builder.blocks(4);
  builder.check(tcp, end, minimumTcp, fixed, to.tooShort);
  lowering.enter(fixed);
  const words = builder.binary("lshr", builder.load(1, tcp, 12), builder.const(4));
  const length = builder.binary("shl", words, builder.const(2));
  builder.branch("uge", length, builder.const(minimumTcp), sane, to.other);
  lowering.enter(sane);
  builder.branch("ugt", builder.pointerAdd(tcp, builder.zeroExtend(length)), end, to.tooShort, fits);
  lowering.enter(fits);
  builder.write(packet.tcp, tcp);
  builder.write(packet.tcpLength, length);
  const total = builder.read(packet.totalLength);
  const unsaid = builder.block();
  builder.branch("eq", total, builder.const(0), unsaid, said);
  lowering.enter(unsaid);
  const behind = builder.binary("sub", frameLength(lowering, packet), builder.read(packet.ipOffset));
  builder.write(packet.totalLength, behind);
  builder.jump(to.done);
  lowering.enter(said);
  builder.branch("uge", total, builder.binary("add", ipLength, length), to.done, to.other);
}

/** tc: the headers may lie outside the linear part. Pulls them in and parses again, once. */
function pullAndRetry(lowering: Lowering, context: Value, attempt: Variable, start: Block, other: Block): void {
  const { builder } = lowering;
  const [first, long, pull] = [builder.block(), builder.block(), builder.block()];
  builder.branch("eq", builder.read(attempt), builder.const(0), first, other);
  lowering.enter(first);
  const size: Variable = { name: "pull", type: int32 };
  const length = builder.load(4, context, 0);
  builder.write(size, length);
  builder.branch("ugt", length, builder.const(pulled), long, pull);
  lowering.enter(long);
  builder.write(size, builder.const(pulled));
  builder.jump(pull);
  lowering.enter(pull);
  builder.call(helpers.skbPullData.number, [context, builder.zeroExtend(builder.read(size))], int64, "packet");
  builder.write(attempt, builder.const(1));
  builder.jump(start);
}
