import { choice, selector, subtype, type u16, u32, u64, type Packet, type TcpOption } from "../policy/index.ts";

/** Flags of an MPTCP DSS option (RFC 8684, section 3.3): what it holds, and that this has 8 bytes instead of 4. */
const DATA_ACK = 0x01;
const DATA_ACK_8 = 0x02;
const MAPPING = 0x04;
const MAPPING_8 = 0x08;

/**
 * Whether `length` bytes from `first` on meet the range from `from` to `to`, on the circle of 64-bit numbers. Where there
 * are none, `first` counts.
 */
function meets(first: u64, length: u16, from: u64, to: u64): boolean {
  return u64(first - from) <= u64(to - from) || u64(from - first) < length;
}

/** The same on the circle of 32-bit numbers. */
function meetsShort(first: u32, length: u32, from: u32, to: u32): boolean {
  return u32(first - from) <= u32(to - from) || u32(from - first) < length;
}

/** The same where only the low 32 bits of the first number are known: a longer range goes all the way round. */
function meetsLow(first: u32, length: u16, from: u64, to: u64): boolean {
  return u64(to - from) > 0xffff_ffff || meetsShort(first, u32(length), u32(from), u32(to));
}

function meetsOnSubflow({ tcp }: Packet, from: u32, to: u32): boolean {
  // SYN and FIN take a number each (RFC 9293, section 3.4).
  return meetsShort(tcp.sequence, tcp.payloadLength + u32(tcp.syn) + u32(tcp.fin), from, to);
}

/** A DSS option's data sequence number stands behind its data ACK; 4 bytes on is the length, which counts a DATA_FIN. */
function maps(option: TcpOption, from: u64, to: u64): boolean {
  const flags = option.u8(3);
  if ((flags & MAPPING) === 0) return false;
  const isLong = (flags & MAPPING_8) !== 0;
  if ((flags & DATA_ACK) === 0)
    return isLong
      ? option.length >= 18 && meets(option.u64(4), option.u16(16), from, to)
      : option.length >= 14 && meetsLow(option.u32(4), option.u16(12), from, to);
  if ((flags & DATA_ACK_8) === 0)
    return isLong
      ? option.length >= 22 && meets(option.u64(8), option.u16(20), from, to)
      : option.length >= 18 && meetsLow(option.u32(8), option.u16(16), from, to);
  return isLong
    ? option.length >= 26 && meets(option.u64(12), option.u16(24), from, to)
    : option.length >= 22 && meetsLow(option.u32(12), option.u16(20), from, to);
}

function meetsOnConnection({ tcp }: Packet, from: u64, to: u64): boolean {
  for (const option of tcp.options) {
    if (option.subtype === subtype.dss) return maps(option, from, to);
  }
  return false;
}

/**
 * Packets that carry bytes numbered `from` to `to`, the last one included, and packets without any whose number is one of
 * these; `from` may be larger than `to`, where numbers start again. `of: "subflow"` are TCP's own numbers, of 32 bits;
 * `of: "data"` the connection's, which DSS options give. Where one gives only the low 32 bits, these are compared.
 */
export const sequence = selector({
  name: "sequence",
  params: { of: choice("subflow", "data"), from: u64, to: u64 },
  check({ of, from, to }) {
    if (of === "data" || (from <= 0xffff_ffffn && to <= 0xffff_ffffn)) return undefined;
    return 'numbers of subflows have 32 bits; of: "data" takes more';
  },
  run(packet, { of, from, to }) {
    switch (of) {
      case "subflow":
        return meetsOnSubflow(packet, u32(from), u32(to));
      default:
        return meetsOnConnection(packet, from, to);
    }
  },
});
