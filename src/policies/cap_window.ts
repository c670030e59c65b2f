import { actor, cannot, flows, known, u32, u8, within } from "../policy/index.ts";
import { learnScale, lowerWindow } from "./window.ts";

/**
 * Caps what a connection may have under way, by the receive window in the ACKs it gets: its rate is at most `window` bytes
 * per round trip. Attach it to every interface of the connection: the sender obeys the largest window that any subflow shows.
 */
export const capWindow = actor({
  name: "cap_window",
  params: { window: within(u32, 1000, 1 << 30) },
  state: { flows: flows({ scale: known(u8, "windowScale"), scaleKnown: known(u8, "present") }) },
  run(packet, { window }, { flows }) {
    const { tcp } = packet;
    if (tcp.rst) return;
    const flow = flows.getOrCreate(packet.flow);
    if (flow === undefined) return cannot("no_room");
    if (tcp.syn) {
      learnScale(packet, flow);
      return;
    }
    if (flow.scaleKnown === 0) return cannot("unknown_scale");
    lowerWindow(tcp, window, flow.scale);
  },
});
