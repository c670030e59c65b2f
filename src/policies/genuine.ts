/** Whether an announced address was signed by who announced it (RFC 8684, section 3.4.1). */
import { mptcpHmac, type Packet, type StateViews, type u32, type u64 } from "../policy/index.ts";
import type { connections, lesson } from "./connections.ts";

/** The keys were not seen, or the connection is of version 0, which signs nothing. */
export const UNKNOWN = 0;
export const GENUINE = 1;
export const FORGED = 2;

type Keys = StateViews<{ connections: typeof connections; lesson: typeof lesson }>;

/**
 * What an ADD_ADDR is, of a packet of a policy that observes with `learnConnections`.
 * @param upper of the address, its first 8 bytes; all of an IPv4 address is in the upper half of it
 * @param lower the other 8 bytes of an IPv6 address
 * @param port 0 where the option has none
 * @param signature the option's last 8 bytes
 */
export function genuineness(
  { egress }: Packet,
  { connections, lesson }: Keys,
  id: u64,
  isV6: boolean,
  upper: u64,
  lower: u64,
  port: u64,
  signature: u64,
): u32 {
  const local = connections.get(lesson.tokenLocal);
  const remote = connections.get(lesson.tokenRemote);
  if (local === undefined || remote === undefined) return UNKNOWN;
  if (local.key === 0 || remote.key === 0 || local.version === 0) return UNKNOWN;
  const sender = egress ? local.key : remote.key;
  const receiver = egress ? remote.key : local.key;
  // Signed are id, address and port, one behind the other.
  const first = (id << 56) | (isV6 ? upper >> 8 : ((upper >> 32) << 24) | (port << 8));
  const second = isV6 ? (upper << 56) | (lower >> 8) : 0;
  const third = isV6 ? (lower << 56) | (port << 40) : 0;
  return mptcpHmac(sender, receiver, first, second, third, isV6 ? 19 : 7) === signature ? GENUINE : FORGED;
}
