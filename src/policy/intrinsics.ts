/** Functions of the policy language that are no view's method. They exist compiled only. */
import type { Address, Prefix, u64 } from "./types.ts";

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

/** Whether two addresses are the same. */
export function sameAddress(_a: Address, _b: Address): boolean {
  return compiledOnly("sameAddress");
}

/** Whether an address lies in a prefix; false across families. */
export function inPrefix(_address: Address, _prefix: Prefix): boolean {
  return compiledOnly("inPrefix");
}

/**
 * Ends an actor's turn and counts why it could not act; `reason` is a string literal of [a-z_]. Use as
 * `return cannot("no_scale")`.
 */
export function cannot(_reason: string): void {
  compiledOnly("cannot");
}
