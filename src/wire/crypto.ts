/** What MPTCP derives from keys: token, initial data sequence number, and the HMACs of MP_JOIN and ADD_ADDR. */
import { createHash, createHmac } from "node:crypto";
import { concatBytes, readBits, readU64, writeU64 } from "./bytes.ts";
import type { MptcpVersion } from "./mptcp/options.ts";

/** Version 0 uses SHA-1 (RFC 6824 §3.1), version 1 SHA-256 (RFC 8684 §3.1). */
const hashOf: Readonly<Record<MptcpVersion, string>> = { 0: "sha1", 1: "sha256" };

/** The HMAC in the third ACK of a join is cut to this many bytes; that of version 0 is no longer. */
const joinAckHmacLength = 20;

export interface JoinSide {
  readonly key: bigint;
  readonly nonce: number;
}

function u64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  writeU64(bytes, 0, value);
  return bytes;
}

function u32(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}

function keyHash(key: bigint, version: MptcpVersion): Uint8Array {
  return new Uint8Array(createHash(hashOf[version]).update(u64(key)).digest());
}

/** HMAC with both keys, the sender's first. */
function hmac(version: MptcpVersion, first: bigint, second: bigint, message: Uint8Array): Uint8Array {
  const keys = concatBytes([u64(first), u64(second)]);
  return new Uint8Array(createHmac(hashOf[version], keys).update(message).digest());
}

/** The token that names the connection of the host with this key: the first 32 bits of the key's hash. */
export function mptcpToken(key: bigint, version: MptcpVersion): number {
  return readBits(keyHash(key, version), 0, 32);
}

/** The initial data sequence number of that host, the last 64 bits of the hash. The first byte of data has the next. */
export function initialDataSequence(key: bigint, version: MptcpVersion): bigint {
  const hash = keyHash(key, version);
  return readU64(hash, hash.length - 8);
}

function joinHmac(sender: JoinSide, receiver: JoinSide, version: MptcpVersion): Uint8Array {
  return hmac(version, sender.key, receiver.key, concatBytes([u32(sender.nonce), u32(receiver.nonce)]));
}

/** The HMAC a MP_JOIN SYN/ACK carries: the first 64 bits of that of its sender, the host that was joined. */
export function joinSynAckHmac(sender: JoinSide, receiver: JoinSide, version: MptcpVersion): bigint {
  return readU64(joinHmac(sender, receiver, version), 0);
}

/** The HMAC the third ACK of a join carries: the first 160 bits of that of its sender, the host that joins. */
export function joinAckHmac(sender: JoinSide, receiver: JoinSide, version: MptcpVersion): Uint8Array {
  return joinHmac(sender, receiver, version).slice(0, joinAckHmacLength);
}

/**
 * The HMAC of a version 1 ADD_ADDR (RFC 8684 §3.4.1): the last 64 bits of that over the address ID, the address, and the
 * port, which is 0 where the option has none.
 */
export function addAddrHmac(
  keys: { readonly sender: bigint; readonly receiver: bigint },
  announced: { readonly addressId: number; readonly address: Uint8Array; readonly port?: number },
): bigint {
  const port = announced.port ?? 0;
  const message = concatBytes([
    Uint8Array.of(announced.addressId),
    announced.address,
    Uint8Array.of(port >> 8, port & 0xff),
  ]);
  const digest = hmac(1, keys.sender, keys.receiver, message);
  return readU64(digest, digest.length - 8);
}
