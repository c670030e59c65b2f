import {
  actor,
  bool,
  cannot,
  choice,
  fallback,
  kind,
  subtype,
  u64,
  type TcpOption,
  type SavedOption,
} from "../policy/index.ts";
import { announced, announces, bitOf, ECHO, keptOptions, keyOf, numberOf, numbers } from "./announcements.ts";

const ECHOED = (subtype.addAddress << 4) | ECHO;
/** Bytes of an ADD_ADDR without its HMAC, for IPv4 and for IPv6; a port takes 2 more (RFC 8684, section 3.4.1). */
const V4 = 8;
const V6 = 20;
const PORT = 2;
const HMAC = 8;
/** What an answer shows: 0 would stop the peer, more would let it send what this host may have no room for. */
const window = 1;

/**
 * Writes the echo that an announcement's sender waits for: the same without the HMAC, with the echo flag. Version 0 of the
 * protocol has neither.
 */
function makeEcho(kept: { option: SavedOption; echo: SavedOption }): boolean {
  const { option } = kept;
  const length = option.u8(1);
  const id = option.u8(3);
  if (length === V4 + HMAC) kept.echo.write([kind.mptcp, V4, ECHOED, id, option.u32(4)]);
  else if (length === V4 + PORT + HMAC)
    kept.echo.write([kind.mptcp, V4 + PORT, ECHOED, id, option.u32(4), option.u16(8)]);
  else if (length === V6 + HMAC) kept.echo.write([kind.mptcp, V6, ECHOED, id, option.u64(4), option.u64(12)]);
  else if (length === V6 + PORT + HMAC)
    kept.echo.write([kind.mptcp, V6 + PORT, ECHOED, id, option.u64(4), option.u64(12), option.u16(20)]);
  else return false;
  return true;
}

function isJoin(option: TcpOption): boolean {
  return option.subtype === subtype.join;
}

function isOtherMptcp(option: TcpOption): boolean {
  return option.kind === kind.mptcp && !announces(option);
}

/**
 * Keeps the peer from adding subflows: its ADD_ADDR options, retransmitted ones too, never reach this host and are kept for
 * `add_subflow`. With `method: "echo"` the peer is told that an announcement arrived, so that it does not repeat it; one
 * that comes along with data is answered when it is repeated alone. A segment that carries nothing else is dropped whole,
 * because a connection that has just begun falls back to plain TCP at the first segment without any MPTCP option. `joins`
 * drops the peer's requests for subflows (MP_JOIN SYN) as well.
 */
export const blkSubflow = actor({
  name: "blk_subflow",
  params: { method: fallback(choice("filter", "echo"), "filter"), joins: fallback(bool, false) },
  state: { announced, keptOptions, numbers },
  run(packet, { method, joins }, { announced, keptOptions, numbers }) {
    const { tcp } = packet;
    if (joins && tcp.syn && !tcp.ack && tcp.options.find(isJoin) !== undefined) packet.drop();
    const announcement = tcp.options.find(announces);
    if (announcement === undefined) return;
    const id = u64(announcement.u8(3));
    const flow = announced.getOrCreate(packet.flow);
    if (flow === undefined) return cannot("no_room");
    if ((flow.restored & bitOf(id)) !== 0) return;
    numberOf(flow, numbers);
    const kept = keptOptions.getOrCreate(keyOf(flow, id));
    if (kept === undefined) return cannot("no_room");
    announcement.save(kept.option);
    flow.kept = flow.kept | bitOf(id);
    const carriesMore = tcp.payloadLength > 0 || tcp.syn || tcp.fin || tcp.rst;
    if (!carriesMore && tcp.options.find(isOtherMptcp) === undefined) {
      if (method !== "echo" || !makeEcho(kept) || !packet.answer(kept.echo, window)) packet.drop();
      return;
    }
    for (const option of tcp.options) {
      if (announces(option)) option.remove();
    }
  },
});
