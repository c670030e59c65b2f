/** Events: what a policy tells user space of, typed, through a ring buffer of the chain. */
import type { Flow } from "./packet.ts";
import type { ParameterType } from "./types.ts";

export type EventFields = Readonly<Record<string, ParameterType<number, number | bigint>>>;

export interface EventType<F = EventFields> {
  readonly name: string;
  readonly fields: F;
}

/**
 * Declares an event, as a constant of a module: `export const joined = event("joined", { token: u32 })`. Name and fields
 * are written out there, since the compiler reads them from the source.
 * @param name [a-z][a-z0-9_]*, at most 32 characters, in a chain only once
 */
export function event<const F extends EventFields>(name: string, fields: F): EventType<F> {
  return { name, fields };
}

/**
 * Tells user space of `event` on `flow`, with a value for each of its fields. False when the ring buffer is full; the
 * chain counts what was lost.
 */
export function emit<F>(
  _event: EventType<F>,
  _flow: Flow,
  _values: { readonly [K in keyof F]: number | boolean },
): boolean {
  throw new Error("Cannot call emit() here: it is part of the policy language and only compiled");
}
