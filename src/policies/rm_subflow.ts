import { actor, cannot, flows, now, u64 } from "../policy/index.ts";

/** A reset that did not come in order is answered by a challenge (RFC 5961): then another one is tried. */
const patienceNs = 200_000_000;

/**
 * Ends subflows: an arriving segment becomes a reset, which this host takes as the end of the subflow alone. What was on its
 * way there is sent again on the others; the peer learns of it when it sends next. Do not pick the last subflow of a
 * connection: that would end the connection.
 */
export const rmSubflow = actor({
  name: "rm_subflow",
  state: { flows: flows({ sinceNs: u64 }) },
  run(packet, _params, { flows }) {
    const { tcp } = packet;
    if (tcp.syn || tcp.rst || !tcp.ack) return;
    const flow = flows.getOrCreate(packet.flow);
    if (flow === undefined) return cannot("no_room");
    if (flow.sinceNs !== 0 && now() < flow.sinceNs + patienceNs) return;
    flow.sinceNs = now();
    tcp.rst = true;
  },
});
