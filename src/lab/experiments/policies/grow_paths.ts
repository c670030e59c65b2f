import { actor, cannot, fallback, flows, kind, subtype, u64, u8, type TcpOption } from "../../../policy/index.ts";

/** Set in an ADD_ADDR that answers one of ours (RFC 8684, section 3.4.1). */
const ECHO = 0x01;

function announces(option: TcpOption): boolean {
  return option.subtype === subtype.addAddress && (option.u8(2) & ECHO) === 0;
}

/**
 * Lets a connection have more paths when it has received so many bytes: until then the peer's ADD_ADDR is taken out, and the
 * peer repeats it. An address known to lie behind a link that another path uses is never let through; the peer's id of it
 * says which.
 */
export const growPaths = actor({
  name: "grow_paths",
  params: { bytes: u64, sharingId: fallback(u8, 0) },
  state: { connections: flows({ received: u64 }) },
  run(packet, params, { connections }) {
    const { tcp } = packet;
    const connection = connections.getOrCreate(packet.flow);
    if (connection === undefined) return cannot("no_room");
    connection.received += tcp.payloadLength;
    let found = false;
    let carriesMore = tcp.payloadLength > 0 || tcp.syn || tcp.fin || tcp.rst;
    for (const option of tcp.options) {
      if (announces(option)) {
        const sharing = params.sharingId !== 0 && option.u8(3) === params.sharingId;
        if (!sharing && connection.received >= params.bytes) return;
        option.remove();
        found = true;
      } else if (option.kind === kind.mptcp) {
        carriesMore = true;
      }
    }
    if (found && !carriesMore) packet.drop();
  },
});
