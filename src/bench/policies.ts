/** Policies that only the benchmark needs: what they do is little enough to be written in C as well. */
import { actor, kind, min, subtype, u16, type TcpOption } from "../policy/index.ts";

/**
 * Caps the window field of every packet, then flips bits of it: a timed run meets its own changes, and what was capped once
 * would not be changed again.
 */
export const windowCap = actor({
  name: "window_cap",
  params: { window: u16, flip: u16 },
  run({ tcp }, { window, flip }) {
    tcp.window = min(tcp.window, window) ^ flip;
  },
});

/** Set in an ADD_ADDR that answers one of ours. */
const ECHO = 0x01;

function announces(option: TcpOption): boolean {
  return option.subtype === subtype.addAddress && (option.u8(2) & ECHO) === 0;
}

/** Removes ADD_ADDR options, and drops segments that carry nothing else; unlike `blk_subflow`, it keeps none. */
export const removeAnnouncements = actor({
  name: "remove_announcements",
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
