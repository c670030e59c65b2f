/** The MPTCP options of version 0 (RFC 6824) and 1 (RFC 8684) as values. Keys and 64-bit numbers are bigints. */

export type MptcpVersion = 0 | 1;

/** Bits that the RFC reserves, in order of the wire, and only when one of them is set. */
interface Reserved {
  readonly reserved?: number;
}

/**
 * MP_CAPABLE (RFC 8684 §3.1, RFC 6824 §3.1). The fields present tell the packet: none (SYN, v1), the sender's key
 * (SYN/ACK; SYN too in v0), both keys (ACK), a data length and perhaps a checksum (first data, v1).
 */
export interface MpCapable extends Reserved {
  readonly kind: "mpCapable";
  readonly version: MptcpVersion;
  /** Flag A. */
  readonly checksumRequired: boolean;
  /** Flag B. */
  readonly extensibility: boolean;
  /** Flag C: the address the packet came from takes no joins (v1). */
  readonly denyJoinId0: boolean;
  /** Flag H: HMAC-SHA1 in v0, HMAC-SHA256 in v1. */
  readonly hmac: boolean;
  readonly senderKey?: bigint;
  readonly receiverKey?: bigint;
  readonly dataLength?: number;
  readonly checksum?: number;
}

/** MP_JOIN on a SYN (RFC 8684 §3.2). */
export interface MpJoinSyn extends Reserved {
  readonly kind: "mpJoinSyn";
  readonly backup: boolean;
  readonly addressId: number;
  /** The receiver's token. */
  readonly token: number;
  readonly nonce: number;
}

/** MP_JOIN on a SYN/ACK. */
export interface MpJoinSynAck extends Reserved {
  readonly kind: "mpJoinSynAck";
  readonly backup: boolean;
  readonly addressId: number;
  /** The leftmost 64 bits of the sender's HMAC. */
  readonly hmac: bigint;
  readonly nonce: number;
}

/** MP_JOIN on the third ACK. */
export interface MpJoinAck extends Reserved {
  readonly kind: "mpJoinAck";
  /** The leftmost 160 bits of the sender's HMAC. */
  readonly hmac: Uint8Array;
}

/**
 * DSS (RFC 8684 §3.3): at most one of the two acknowledgments; a mapping is one of the two data sequence numbers
 * together with `subflowSequence` and `dataLength`, with or without a checksum.
 */
export interface Dss extends Reserved {
  readonly kind: "dss";
  readonly dataFin: boolean;
  readonly dataAck32?: number;
  readonly dataAck64?: bigint;
  readonly dataSequence32?: number;
  readonly dataSequence64?: bigint;
  /** Relative to the subflow's initial sequence number. */
  readonly subflowSequence?: number;
  /** Bytes mapped, a DATA_FIN counting as one; 0 is the infinite mapping. */
  readonly dataLength?: number;
  readonly checksum?: number;
}

/** ADD_ADDR (RFC 8684 §3.4.1). In v0 there is neither `hmac` nor echo; in v1 an echo has no `hmac`. */
export interface AddAddr extends Reserved {
  readonly kind: "addAddr";
  readonly version: MptcpVersion;
  readonly echo: boolean;
  readonly addressId: number;
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  readonly port?: number;
  /** The rightmost 64 bits of the HMAC. */
  readonly hmac?: bigint;
}

/** REMOVE_ADDR (RFC 8684 §3.4.2): at least one identifier. */
export interface RemoveAddr extends Reserved {
  readonly kind: "removeAddr";
  readonly addressIds: Uint8Array;
}

/** MP_PRIO (RFC 8684 §3.3.8). Version 0 may name the address the priority is for. */
export interface MpPrio extends Reserved {
  readonly kind: "mpPrio";
  readonly backup: boolean;
  readonly addressId?: number;
}

/** MP_FAIL (RFC 8684 §3.7). */
export interface MpFail extends Reserved {
  readonly kind: "mpFail";
  readonly dataSequence: bigint;
}

/** MP_FASTCLOSE (RFC 8684 §3.5). */
export interface MpFastclose extends Reserved {
  readonly kind: "mpFastclose";
  readonly receiverKey: bigint;
}

/** MP_TCPRST (RFC 8684 §3.6), version 1 only. */
export interface MpTcpRst extends Reserved {
  readonly kind: "mpTcpRst";
  readonly transient: boolean;
  /** See RFC 8684 §3.6: 0 unspecified … 6 middlebox interference. */
  readonly reason: number;
}

/** A subtype, or a version of MP_CAPABLE, that this project does not know. */
export interface MptcpUnknown {
  readonly kind: "mptcpUnknown";
  /** The whole option, kind and length included. */
  readonly bytes: Uint8Array;
}

/** The options with a layout of their own. */
export type MptcpKnownOption =
  | MpCapable
  | MpJoinSyn
  | MpJoinSynAck
  | MpJoinAck
  | Dss
  | AddAddr
  | RemoveAddr
  | MpPrio
  | MpFail
  | MpFastclose
  | MpTcpRst;
export type MptcpOption = MptcpKnownOption | MptcpUnknown;

/** Subtypes as on the wire (RFC 8684 §8.1), by the name the RFC gives the option. */
export const MptcpSubtype = {
  MP_CAPABLE: 0,
  MP_JOIN: 1,
  DSS: 2,
  ADD_ADDR: 3,
  REMOVE_ADDR: 4,
  MP_PRIO: 5,
  MP_FAIL: 6,
  MP_FASTCLOSE: 7,
  MP_TCPRST: 8,
} as const;
