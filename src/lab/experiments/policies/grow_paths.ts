import {
  actor,
  bytes,
  cannot,
  fallback,
  flows,
  kind,
  subtype,
  u16,
  u64,
  u8,
  type TcpOption,
} from "../../../policy/index.ts";

/** Set in an ADD_ADDR that answers one of ours (RFC 8684, section 3.4.1). */
const ECHO = 0x01;

function announces(option: TcpOption): boolean {
  return option.subtype === subtype.addAddress && (option.u8(2) & ECHO) === 0;
}

/**
 * Lets a connection have more paths when it has received so many bytes: the peer's last ADD_ADDR is kept until then, and
 * given to this host in answer to one of its ACKs. An address known to lie behind a link that another path uses is never
 * let through; the peer's id of it says which.
 */
export const growPaths = actor({
  name: "grow_paths",
  direction: "both",
  params: { bytes: u64, sharingId: fallback(u8, 0) },
  state: { connections: flows({ received: u64, window: u16, waiting: u8, kept: bytes(40) }) },
  run(packet, params, { connections }) {
    const { tcp } = packet;
    const connection = connections.getOrCreate(packet.flow);
    if (connection === undefined) return cannot("no_room");
    if (packet.egress) {
      if (connection.waiting === 0 || connection.received < params.bytes) return;
      if (tcp.payloadLength > 0 || tcp.syn || tcp.fin || tcp.rst) return;
      if (packet.answer(connection.kept, connection.window)) connection.waiting = 0;
      return;
    }
    connection.received += tcp.payloadLength;
    connection.window = tcp.window;
    let found = false;
    let carriesMore = tcp.payloadLength > 0 || tcp.syn || tcp.fin || tcp.rst;
    for (const option of tcp.options) {
      if (announces(option)) {
        const sharing = params.sharingId !== 0 && option.u8(3) === params.sharingId;
        if (!sharing && connection.received >= params.bytes) return;
        if (!sharing) {
          option.save(connection.kept);
          connection.waiting = 1;
        }
        option.remove();
        found = true;
      } else if (option.kind === kind.mptcp) {
        carriesMore = true;
      }
    }
    if (found && !carriesMore) packet.drop();
  },
});
