/** Functions of the policy language that are no view's method. They exist compiled only. */
import type { Address, Prefix, u32, u64 } from "./types.ts";

function compiledOnly(name: string): never {
  throw new Error(`Cannot call ${name}() here: it is part of the policy language and only compiled`);
}

/** The smaller of two integers of one type. */
export function min(_a: number, _b: number): number {
  return compiledOnly("min");
}

/** The larger of two integers of one type. */
export function max(_a: number, _b: number): number {
  return compiledOnly("max");
}

/** Nanoseconds since the system started, without suspend. */
export function now(): u64 {
  return compiledOnly("now");
}

/** Whether two addresses are the same; the second one may be written out: `"10.0.0.1"`. */
export function sameAddress(_a: Address, _b: Address | string): boolean {
  return compiledOnly("sameAddress");
}

/** Whether an address lies in a prefix, which may be written out: `"10.0.0.0/8"`; false across families. */
export function inPrefix(_address: Address, _prefix: Prefix | string): boolean {
  return compiledOnly("inPrefix");
}

/**
 * Ends an actor's turn and counts why it could not act; `reason` is a string literal of [a-z_]. Use as
 * `return cannot("no_scale")`.
 */
export function cannot(_reason: string): void {
  compiledOnly("cannot");
}

/** Adds to a field of 4 or 8 bytes of a record, atomically: the value before. */
export function fetchAdd(_field: number, _amount: number): number {
  return compiledOnly("fetchAdd");
}

/**
 * Writes `_desired` to a field of 4 or 8 bytes of a record if it holds `_expected`, atomically: the value before, which is
 * `_expected` for the one that wrote.
 */
export function compareExchange(_field: number, _expected: number, _desired: number): number {
  return compiledOnly("compareExchange");
}

/** Takes the flag of a record of `claimable(…)` state: true for the one caller that got it, of all that try at once. */
export function claim(_record: { readonly __claimable: true }): boolean {
  return compiledOnly("claim");
}

/** Sets the flag of a record of `claimable(…)` state, for one `claim` to take. */
export function offer(_record: { readonly __claimable: true }): void {
  compiledOnly("offer");
}

/** The token of an MPTCP connection by one host's key, as `option.u64` reads it (RFC 8684, section 3.2: SHA-256). */
export function mptcpToken(_key: u64): u32 {
  return compiledOnly("mptcpToken");
}

/** The same of MPTCP version 0 (RFC 6824, section 3.2: SHA-1). */
export function mptcpTokenV0(_key: u64): u32 {
  return compiledOnly("mptcpTokenV0");
}

/**
 * The last 64 bits of the HMAC-SHA256 by which MPTCP signs ADD_ADDR (RFC 8684, section 3.4.1).
 * @param _sender key of the host that signs, as `option.u64` reads it; `_receiver` is the other's
 * @param _first the message, 24 bytes with `_second` and `_third`, zero behind its end
 * @param _length of the message, in bytes, at most 23
 */
export function mptcpHmac(_sender: u64, _receiver: u64, _first: u64, _second: u64, _third: u64, _length: u32): u64 {
  return compiledOnly("mptcpHmac");
}
