import { actor, kind, subtype, type TcpOption } from "../policy/index.ts";

/** Set in an ADD_ADDR that answers one of ours (RFC 8684, section 3.4.1): it opens no subflow here. */
const ECHO = 0x01;

function announces(option: TcpOption): boolean {
  return option.subtype === subtype.addAddress && (option.u8(2) & ECHO) === 0;
}

/**
 * Keeps the peer from adding subflows: its ADD_ADDR options, retransmitted ones too, never reach this host. A segment that
 * carries nothing else is dropped whole, because a connection that has just begun falls back to plain TCP at the first
 * segment without any MPTCP option.
 */
export const blkSubflow = actor({
  name: "blk_subflow",
  run(packet) {
    const { tcp } = packet;
    let found = false;
    let carriesMore = tcp.payloadLength > 0 || tcp.syn || tcp.fin || tcp.rst;
    for (const option of tcp.options) {
      if (announces(option)) {
        option.remove();
        found = true;
      } else if (option.kind === kind.mptcp) {
        carriesMore = true;
      }
    }
    if (found && !carriesMore) packet.drop();
  },
});
