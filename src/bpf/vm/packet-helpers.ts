/** Helpers of programs that see packets (net/core/filter.c). An skb here carries no offloaded checksum (CHECKSUM_NONE). */
import { helpers as table } from "../helpers.ts";
import { fold, replaceByDifference, replaceHalfWord, replaceWord, sumBytes, sumSubtract } from "./checksum.ts";
import { implement } from "./helpers.ts";
import type { HelperFunction, Machine } from "./machine.ts";
import { Errno } from "./maps.ts";
import type { Packet } from "./packet.ts";

/** Flags of the checksum helpers. */
const ChecksumFlag = {
  fieldMask: 0xfn,
  pseudoHeader: 0x10n,
  markMangled0: 0x20n,
  enforceMark: 0x40n,
  ipv6: 0x80n,
} as const;
/** A UDP checksum of zero, as it is sent. */
const MANGLED_ZERO = 0xffff;
const TC_ACT_SHOT = 2;
const TC_ACT_REDIRECT = 7;
const XDP_ABORTED = 0;
const XDP_REDIRECT = 4;
const MAX_INT = 0x7fff_ffff;
const ETHERNET_HEADER = 14;
const BPF_MTU_CHK_RET_FRAG_NEEDED = 1;
/** The largest an skb grows to on the loopback interface, on which BPF_PROG_TEST_RUN works: its MTU and a link header. */
const SKB_MAX_LENGTH = 65_536 + ETHERNET_HEADER;

/** What helpers act on: the packet of the run, and where they note what else they did. */
export interface PacketRun {
  readonly packet: Packet;
  /** Of the interface, in bytes. */
  readonly mtu: number;
  redirect?: { readonly ifindex: number; readonly flags: bigint };
  readonly clones: { readonly ifindex: number; readonly flags: bigint; readonly packet: Uint8Array }[];
}

function checksumDifference(machine: Machine): bigint | number {
  const fromSize = machine.unsigned(2);
  const toSize = machine.unsigned(4);
  // As documented; newer kernels take any size.
  if (((fromSize | toSize) & 3) !== 0) return Errno.invalid;
  const from = machine.memory(1, fromSize, false);
  const to = machine.memory(3, toSize, false);
  const seed = machine.unsigned(5);
  if (fromSize > 0 && toSize > 0) return fold(sumSubtract(sumBytes(to, seed), sumBytes(from, 0)));
  if (toSize > 0) return fold(sumBytes(to, seed));
  if (fromSize > 0) return fold(~sumBytes(from, ~seed >>> 0) >>> 0);
  return fold(seed);
}

function low(value: bigint, bits: number): number {
  return Number(BigInt.asUintN(bits, value));
}

/** The checksum field after a change of `size` bytes; undefined for a size the helpers do not have. */
function replaced(checksum: number, size: bigint, from: bigint, to: bigint): number | undefined {
  if (size === 0n) return from === 0n ? replaceByDifference(checksum, low(to, 32)) : undefined;
  if (size === 2n) return replaceHalfWord(checksum, low(from, 16), low(to, 16));
  return size === 4n ? replaceWord(checksum, low(from, 32), low(to, 32)) : undefined;
}

function checksumField(machine: Machine, packet: Packet): DataView | undefined {
  const offset = machine.unsigned(2);
  if (offset > 0xffff || (offset & 1) !== 0) return undefined;
  const bytes = packet.slice(offset, 2);
  if (!bytes) return undefined;
  packet.pull(offset + 2);
  return new DataView(bytes.buffer, bytes.byteOffset, 2);
}

function replaceNetworkChecksum(machine: Machine, packet: Packet): number {
  const flags = machine.wide(5);
  if ((flags & ~ChecksumFlag.fieldMask) !== 0n) return Errno.invalid;
  const field = checksumField(machine, packet);
  if (!field) return Errno.fault;
  const result = replaced(field.getUint16(0, true), flags, machine.wide(3), machine.wide(4));
  if (result === undefined) return Errno.invalid;
  field.setUint16(0, result, true);
  return 0;
}

function replaceTransportChecksum(machine: Machine, packet: Packet): number {
  const flags = machine.wide(5);
  const { fieldMask, pseudoHeader, markMangled0, enforceMark, ipv6 } = ChecksumFlag;
  if ((flags & ~(fieldMask | pseudoHeader | markMangled0 | enforceMark | ipv6)) !== 0n) return Errno.invalid;
  const field = checksumField(machine, packet);
  if (!field) return Errno.fault;
  const old = field.getUint16(0, true);
  const marks = (flags & markMangled0) !== 0n;
  if (marks && (flags & enforceMark) === 0n && old === 0) return 0;
  let size = flags & fieldMask;
  let from = machine.wide(3);
  let to = machine.wide(4);
  if (size === 2n) {
    // The kernel widens both halves and uses the 32-bit form here.
    [size, from, to] = [4n, from & 0xffffn, to & 0xffffn];
  }
  const result = replaced(old, size, from, to);
  if (result === undefined) return Errno.invalid;
  field.setUint16(0, marks && result === 0 ? MANGLED_ZERO : result, true);
  return 0;
}

/** Wraps a helper that moves or rewrites the packet: pointers from before are stale, whether it worked or not. */
function invalidating(
  name: string,
  run: () => PacketRun,
  body: (machine: Machine, packet: Packet) => number,
): HelperFunction {
  return (machine) => {
    const { packet } = run();
    const result = body(machine, packet);
    packet.invalidate(name);
    return result;
  };
}

/** Helpers of tc programs. */
export function skbHelpers(run: () => PacketRun): [number, HelperFunction][] {
  return [
    implement(table.csumDiff, checksumDifference),
    implement(
      table.skbStoreBytes,
      invalidating("skb_store_bytes", run, (machine, packet) => {
        const offset = machine.unsigned(2);
        const length = machine.unsigned(4);
        if ((machine.wide(5) & ~3n) !== 0n) return Errno.invalid;
        const bytes = machine.memory(3, length, false);
        const target = offset > MAX_INT ? undefined : packet.slice(offset, length);
        if (!target) return Errno.fault;
        packet.pull(offset + length);
        target.set(bytes);
        return 0;
      }),
    ),
    implement(table.skbLoadBytes, (machine) => {
      const { packet } = run();
      const offset = machine.unsigned(2);
      const length = machine.unsigned(4);
      const target = machine.memory(3, length, true);
      const source = offset > MAX_INT ? undefined : packet.slice(offset, length);
      if (source) target.set(source);
      else target.fill(0);
      return source ? 0 : Errno.fault;
    }),
    implement(table.l3CsumReplace, invalidating("l3_csum_replace", run, replaceNetworkChecksum)),
    implement(table.l4CsumReplace, invalidating("l4_csum_replace", run, replaceTransportChecksum)),
    implement(
      table.skbPullData,
      invalidating("skb_pull_data", run, (machine, packet) =>
        packet.pull(machine.unsigned(2) || packet.linearLength) ? 0 : Errno.noMemory,
      ),
    ),
    implement(
      table.skbChangeTail,
      invalidating("skb_change_tail", run, (machine, packet) => {
        const length = machine.unsigned(2);
        if (machine.wide(3) !== 0n || length < ETHERNET_HEADER || length > SKB_MAX_LENGTH) return Errno.invalid;
        packet.resize(length);
        return 0;
      }),
    ),
    implement(table.checkMtu, (machine) => {
      const { packet, mtu } = run();
      const result = machine.memory(3, 4, true);
      const view = new DataView(result.buffer, result.byteOffset, 4);
      // A length that is given counts instead of the packet's own.
      const length = view.getUint32(0, true) || packet.length - ETHERNET_HEADER;
      view.setUint32(0, mtu, true);
      return length + machine.signed(4) <= mtu ? 0 : BPF_MTU_CHK_RET_FRAG_NEEDED;
    }),
    implement(
      table.cloneRedirect,
      invalidating("clone_redirect", run, (machine, packet) => {
        const flags = machine.wide(3);
        if ((flags & ~1n) !== 0n) return Errno.invalid;
        run().clones.push({ ifindex: machine.unsigned(2), flags, packet: packet.contents() });
        return 0;
      }),
    ),
    implement(table.redirect, (machine) => {
      const flags = machine.wide(2);
      if ((flags & ~1n) !== 0n) return TC_ACT_SHOT;
      run().redirect = { ifindex: machine.unsigned(1), flags };
      return TC_ACT_REDIRECT;
    }),
  ];
}

/** Helpers of XDP programs. */
export function xdpHelpers(run: () => PacketRun): [number, HelperFunction][] {
  const copy = (towardsProgram: boolean): HelperFunction => {
    return (machine) => {
      const offset = machine.unsigned(2);
      const length = machine.unsigned(4);
      const bytes = machine.memory(3, length, towardsProgram);
      if (offset > 0xffff || length > 0xffff) return Errno.fault;
      const inPacket = run().packet.slice(offset, length);
      if (!inPacket) return Errno.invalid;
      if (towardsProgram) bytes.set(inPacket);
      else inPacket.set(bytes);
      return 0;
    };
  };
  return [
    implement(table.csumDiff, checksumDifference),
    implement(
      table.xdpAdjustHead,
      invalidating("xdp_adjust_head", run, (machine, packet) =>
        packet.adjustHead(machine.signed(2)) ? 0 : Errno.invalid,
      ),
    ),
    implement(
      table.xdpAdjustTail,
      invalidating("xdp_adjust_tail", run, (machine, packet) =>
        packet.adjustTail(machine.signed(2)) ? 0 : Errno.invalid,
      ),
    ),
    implement(
      table.xdpAdjustMeta,
      invalidating("xdp_adjust_meta", run, (machine, packet) => {
        const result = packet.adjustMeta(machine.signed(2));
        return result === "done" ? 0 : result === "noRoom" ? Errno.invalid : Errno.accessDenied;
      }),
    ),
    implement(table.xdpLoadBytes, copy(true)),
    implement(table.xdpStoreBytes, copy(false)),
    implement(table.xdpGetBuffLen, () => BigInt(run().packet.length)),
    implement(table.redirect, (machine) => {
      const flags = machine.wide(2);
      if (flags !== 0n) return XDP_ABORTED;
      run().redirect = { ifindex: machine.unsigned(1), flags };
      return XDP_REDIRECT;
    }),
  ];
}
