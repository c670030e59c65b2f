/** What the maps know of a subflow from its first ACK to its end: a record for strategies, a slot of metrics. */
import { compareExchange, fetchAdd, u16, u32, u64, u8, type StackSocket } from "../../policy/index.ts";
import { mostMeasured } from "../strategies.ts";
import type { Memory, State } from "./memory.ts";

/** How many slots are tried, from one that the token chooses. */
const probes = 8;
const AF_INET6 = 10;
const TCP_CLOSE = 7;
const minusOne = 0xffff_ffff;

function swapped(port: u32): u32 {
  return ((port & 0xff) << 8) | (port >> 8);
}

/** Takes a free slot, if there is one near, and says in it whose it is. */
function takeSlot(socket: StackSocket, mine: Memory, { metrics, slots }: State): void {
  for (let i = 0; i < probes; i++) {
    const index = u32((mine.owner >> 32) + (mine.owner & 0xff) * 97 + i) & (mostMeasured - 1);
    const slot = metrics.at(index);
    if (slot === undefined) return;
    const before = compareExchange(slot.owner, 0, mine.owner);
    if (before !== 0 && before !== mine.owner) continue;
    mine.slot = index + 1;
    slot.localPort = u16(socket.field("sock_common.skc_num", u16));
    slot.remotePort = u16(swapped(socket.field("sock_common.skc_dport", u16)));
    if (socket.field("sock_common.skc_family", u16) === AF_INET6) {
      slot.local0 = socket.field("sock_common.skc_v6_rcv_saddr.in6_u.u6_addr32[0]", u32);
      slot.local1 = socket.field("sock_common.skc_v6_rcv_saddr.in6_u.u6_addr32[1]", u32);
      slot.local2 = socket.field("sock_common.skc_v6_rcv_saddr.in6_u.u6_addr32[2]", u32);
      slot.local3 = socket.field("sock_common.skc_v6_rcv_saddr.in6_u.u6_addr32[3]", u32);
      slot.remote0 = socket.field("sock_common.skc_v6_daddr.in6_u.u6_addr32[0]", u32);
      slot.remote1 = socket.field("sock_common.skc_v6_daddr.in6_u.u6_addr32[1]", u32);
      slot.remote2 = socket.field("sock_common.skc_v6_daddr.in6_u.u6_addr32[2]", u32);
      slot.remote3 = socket.field("sock_common.skc_v6_daddr.in6_u.u6_addr32[3]", u32);
    } else {
      slot.local0 = 0;
      slot.local1 = 0;
      slot.local2 = 0xffff_0000;
      slot.local3 = socket.field("sock_common.skc_rcv_saddr", u32);
      slot.remote0 = 0;
      slot.remote1 = 0;
      slot.remote2 = 0xffff_0000;
      slot.remote3 = socket.field("sock_common.skc_daddr", u32);
    }
    const known = slots.getOrCreate(socket.flow);
    if (known !== undefined) known.slot = index;
    return;
  }
}

export function attach(socket: StackSocket, mine: Memory, state: State): void {
  mine.attached = 1;
  mine.owner = 0;
  mine.slot = 0;
  state.strategies.getOrCreate(socket.flow);
  const connection = socket.connection;
  if (connection === undefined) return;
  mine.owner = (u64(connection.token) << 32) | socket.id;
  const known = state.connections.getOrCreate(connection.token);
  if (known !== undefined) known.subflows += 1;
  state.congestion.getOrCreate(connection.token);
  takeSlot(socket, mine, state);
}

/**
 * Undoes `attach`. Strategies go with the subflow, and with the connection's last one, but stay for a socket that goes on
 * under other congestion control, or under a later version of this.
 */
export function detach(socket: StackSocket, mine: Memory, state: State): void {
  if (mine.attached === 0) return;
  mine.attached = 0;
  const isClosed = socket.field("sock_common.skc_state", u8) === TCP_CLOSE;
  if (isClosed) state.strategies.delete(socket.flow);
  state.losses.delete(socket.flow);
  state.shares.delete(socket.flow);
  if (mine.owner === 0) return;
  const token = u32(mine.owner >> 32);
  const known = state.connections.get(token);
  if (known !== undefined && fetchAdd(known.subflows, minusOne) === 1) {
    state.connections.delete(token);
    if (isClosed) state.congestion.delete(token);
  }
  if (mine.slot === 0) return;
  state.slots.delete(socket.flow);
  const slot = state.metrics.at(mine.slot - 1);
  if (slot === undefined) return;
  // Whoever reads takes what the next owner has not written yet for nothing.
  slot.updatedUs = 0;
  slot.owner = 0;
}
