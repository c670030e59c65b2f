/** What a policy sees of a packet. The compiler turns each property into a few instructions. */
import type { Address, i32, u16, u32, u64, u8 } from "./types.ts";

export interface Ip {
  /** 4 or 6. */
  readonly version: u8;
  readonly source: Address;
  readonly destination: Address;
  /** Time to live, or hop limit. */
  readonly ttl: u8;
  /** Explicit congestion notification, 0 to 3 (RFC 3168): 1 and 2 mean that the sender understands it, 3 that there is congestion. */
  ecn: u8;
  /** Differentiated services code point, 0 to 63. */
  dscp: u8;
}

export interface Tcp {
  readonly sourcePort: u16;
  readonly destinationPort: u16;
  readonly sequence: u32;
  readonly acknowledgment: u32;
  /** Flags other than SYN and ACK can be written; the checksum is kept right. */
  fin: boolean;
  readonly syn: boolean;
  rst: boolean;
  psh: boolean;
  readonly ack: boolean;
  urg: boolean;
  ece: boolean;
  cwr: boolean;
  /** The window field as it is on the wire, before scaling. Writing it keeps the checksum right. */
  window: u16;
  /** Bytes of TCP header, options included. */
  readonly headerLength: u32;
  /** Bytes behind the TCP header, by the IP header's length. */
  readonly payloadLength: u32;
  /** The options in the order of the packet; ends at EOL, at a malformed one, and at the header's end. */
  readonly options: TcpOptions;
}

export interface TcpOptions extends Iterable<TcpOption> {
  /**
   * The first option for which a function declared in a policy file is true. What is read of it then costs the kernel's
   * verifier far less than what is read inside of a loop.
   */
  find(wanted: (option: TcpOption) => boolean): TcpOption | undefined;
}

export interface TcpOption {
  readonly kind: u8;
  /** Bytes, with kind and length. NOP is not among the options a loop meets. */
  readonly length: u8;
  /** The MPTCP subtype (see `subtype`), or -1 when this is no MPTCP option. */
  readonly subtype: i32;
  /** Big-endian integers at byte `offset` of the option; 0 where the option is shorter than that. `offset` is a constant. */
  u8(offset: number): u8;
  u16(offset: number): u16;
  u32(offset: number): u32;
  u64(offset: number): u64;
  /** Overwrites two bytes at once, unless the option is too short; the checksum is kept right. `offset` is a constant. */
  setU16(offset: number, value: u16): void;
  /** Keeps the raw option in a record's field of type `bytes(n)`, for `packet.insert` later; false when it is longer than n. */
  save(field: SavedOption): boolean;
  /** Overwrites the option with NOPs when the actor's turn ends; the checksum is kept right. */
  remove(): void;
}

export interface Packet {
  /** Whether this hook sees packets that arrive, or that leave. */
  readonly ingress: boolean;
  readonly egress: boolean;
  /** Bytes of the frame; a GSO packet counts whole. */
  readonly length: u32;
  readonly ip: Ip;
  readonly tcp: Tcp;
  /** The packet's flow, the same in both directions: this host's address and port, and the peer's. */
  readonly flow: Flow;
  readonly ethernet: Ethernet;
  /** The packet's mark (SO_MARK, netfilter); tc only. */
  mark: u32;
  /** Drops the packet at the end of the chain; the actors behind this one still see it. */
  drop(): void;
  /** Sends the packet out of another interface at the end of the chain, unless it is dropped; 0 takes that back. */
  redirect(ifindex: u32): void;
  /** Sends a copy of the packet, as it is at the end of the chain, out of another interface; tc only. */
  mirror(ifindex: u32): void;
  /**
   * Puts an option into the packet at the end of the chain. False where that cannot be: no room among the 40 bytes
   * of options, a segment that would outgrow the interface or is still to be cut up (GSO), one that an actor before this
   * one dropped, or another request before it.
   */
  insert(option: OptionBytes): boolean;
  /**
   * Sends a pure ACK with this packet's numbers and timestamps and the option along with it, the same way. The chain is not
   * shown either again. False where that cannot be: SYN, FIN and RST, a packet with payload and a mark, no room, another
   * request before it, and always on XDP, which cannot copy frames.
   */
  duplicate(option: OptionBytes): boolean;
  /**
   * Instead of going on, the packet goes back to where it came from as a pure ACK with the option. `window` is
   * what it shows, as on the wire. False where that cannot be: payload, SYN, FIN, RST, no room, another request.
   */
  answer(option: OptionBytes, window: u16): boolean;
}

/**
 * A TCP option, as the numbers it is made of: each takes as many bytes as its type has, in network order; a literal takes
 * one. `[kind.mptcp, 4, (subtype.priority << 4) | backup, id]`. NOPs fill it up to a multiple of four.
 */
export type OptionBytes = readonly (u8 | u16 | u32 | u64)[] | SavedOption;

/** What `option.save` keeps in a record's field of type `bytes(n)`: the raw option, NOPs behind it; zeros before. */
export interface SavedOption {
  readonly __saved: never;
  /** Replaces it by an option written out, or by one of a field of the same length. */
  write(option: OptionBytes): void;
  /** Big-endian integers at byte `offset`, a constant within the field. */
  u8(offset: number): u8;
  u16(offset: number): u16;
  u32(offset: number): u32;
  u64(offset: number): u64;
}

/** Addresses as 48-bit numbers; a person writes `02:00:00:00:00:01` (parameter type `mac`). */
export interface Ethernet {
  source: u64;
  destination: u64;
}

/** A subflow as seen from this host, usable as the key of a state map. */
export interface Flow {
  readonly local: Address;
  readonly remote: Address;
  readonly localPort: u16;
  readonly remotePort: u16;
}

/** MPTCP option subtypes (RFC 8684, section 8). */
export const subtype = {
  capable: 0,
  join: 1,
  dss: 2,
  addAddress: 3,
  removeAddress: 4,
  priority: 5,
  fail: 6,
  fastClose: 7,
  reset: 8,
} as const;

/** TCP option kinds (IANA registry). */
export const kind = { mss: 2, windowScale: 3, sackPermitted: 4, sack: 5, timestamps: 8, mptcp: 30 } as const;
