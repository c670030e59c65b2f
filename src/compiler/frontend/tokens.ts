/**
 * The token of an MPTCP connection: the first 32 bits of a hash of the key, SHA-256 in version 1 (RFC 8684, section 3.2),
 * SHA-1 in version 0 (RFC 6824, section 3.2).
 */
import type { Value } from "../ir/ir.ts";
import { Hashing } from "./hashes.ts";
import type { Lowering } from "./lowering.ts";

/** The key's 8 bytes, one bit, zeros, and the length in bits. */
function writeKey(hashing: Hashing, key: Value): void {
  hashing.write([...hashing.halves(key), 0x8000_0000, ...Array<number>(12).fill(0), 64]);
}

/** @param key the 64-bit key as `option.u64` reads it */
export function lowerToken(lowering: Lowering, key: Value): Value {
  const hashing = new Hashing(lowering);
  writeKey(hashing, key);
  const state = hashing.start256();
  hashing.rounds256(state);
  return hashing.first256(state);
}

/** @param key the 64-bit key as `option.u64` reads it */
export function lowerTokenV0(lowering: Lowering, key: Value): Value {
  const hashing = new Hashing(lowering);
  writeKey(hashing, key);
  return hashing.sha1();
}
