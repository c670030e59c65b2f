/** Addresses that peers announced (ADD_ADDR): which are kept from this host, which may pass; shared by all chains of the host. */
import { bytes, fetchAdd, flows, hostWide, shared, subtype, table, u32, u64, type TcpOption } from "../policy/index.ts";

/** Set in an ADD_ADDR that answers one of ours (RFC 8684, section 3.4.1): it opens no subflow here. */
export const ECHO = 0x01;
/** Address ids that can be kept of one subflow: a bit each. */
export const maximumIds = 64;

/** Of each subflow: the ids that are kept, those that were let through again, a number of its own. */
export const announced = hostWide("announced", flows({ kept: u64, restored: u64, number: u32 }));
/** The options as they were, by the subflow's number and the address id. */
export const keptOptions = hostWide("kept_addresses", table(u64, { option: bytes(32), echo: bytes(24) }, 16_384));
export const numbers = hostWide("announced_numbers", shared({ last: u32 }));

/** Whether this is an announcement, and no answer to one. */
export function announces(option: TcpOption): boolean {
  return option.subtype === subtype.addAddress && (option.u8(2) & ECHO) === 0;
}

/** The bit of an address id. */
export function bitOf(id: u64): u64 {
  return u64(1) << (id % maximumIds);
}

/** The key of a kept option. */
export function keyOf(flow: { number: number }, id: u64): u64 {
  return (u64(flow.number) << 8) | (id % maximumIds);
}

/** Gives a subflow its number. */
export function numberOf(flow: { number: number }, all: { last: number }): void {
  if (flow.number === 0) flow.number = fetchAdd(all.last, 1) + 1;
}
