/**
 * What a chain's events look like in the ring buffer. A record is
 *
 *     offset  bytes
 *          0      2  number of the event: its place in `ChainLayout.events`
 *          2      2  number of the policy that emitted it: that of an actor, or `selectorBit` and that of a selector
 *          4      4  bytes of the record, this header included
 *          8      8  nanoseconds since the system started, without suspend
 *         16     40  the flow, as in state maps
 *         56      …  the event's fields, each aligned to its size; the whole is rounded up to 8
 *
 * All numbers are in host order.
 */
import { integerSizes, type IntegerName } from "../policy/types.ts";
import type { Policy } from "../policy/policy.ts";
import { flowKeySize } from "./state-layout.ts";

/** The map's key in programs and name among a chain's pins. */
export const eventsMap = "events";
/** Bytes of the ring buffer. */
export const eventsSize = 256 * 1024;

export const eventHeader = { event: 0, policy: 2, size: 4, timeNs: 8, flow: 16, length: 16 + flowKeySize } as const;

/** Set in the policy's number when it is a selector. */
export const selectorBit = 0x8000;

export const policyNumber = (kind: Policy["kind"], index: number): number =>
  kind === "selector" ? selectorBit | index : index;

/** An event as its module declares it. */
export interface DeclaredEvent {
  readonly name: string;
  readonly fields: Readonly<Record<string, IntegerName>>;
}

export interface EventField {
  readonly name: string;
  readonly type: IntegerName;
  /** Bytes from the record's start. */
  readonly offset: number;
}

export interface EventSlot {
  readonly name: string;
  readonly fields: readonly EventField[];
  /** Bytes of a record. */
  readonly size: number;
}

export function layOutEvent({ name, fields }: DeclaredEvent): EventSlot {
  let size: number = eventHeader.length;
  const places = Object.entries(fields).map(([field, type]): EventField => {
    const bytes = integerSizes[type];
    const offset = Math.ceil(size / bytes) * bytes;
    size = offset + bytes;
    return { name: field, type, offset };
  });
  return { name, fields: places, size: Math.ceil(size / 8) * 8 };
}
