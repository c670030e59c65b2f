import { actor, cannot, fetchAdd, flows, now, u64 } from "../policy/index.ts";
import { CLOSED, learnConnections, learning, OPEN, OVER } from "./connections.ts";

/** A reset that did not come in order is answered by a challenge (RFC 5961): then another one is tried. */
const patienceNs = 200_000_000;
const minusOne = 0xffff_ffff;

/**
 * Ends subflows: an arriving segment becomes a reset, which this host takes as the end of the subflow alone. What was on its
 * way there is sent again on the others; the peer learns of it when it sends next. The last subflow of a connection stays,
 * since it would take the connection along; so does one whose connection is unknown, plain TCP above all. Subflows that
 * are older than the chain are counted from their first packet on.
 */
export const rmSubflow = actor({
  name: "rm_subflow",
  direction: "both",
  state: { ...learning, ending: flows({ sinceNs: u64 }) },
  observe: learnConnections,
  run(packet, _params, { connections, subflows, ending, lesson }) {
    const { tcp } = packet;
    if (packet.egress || tcp.syn || tcp.rst || !tcp.ack) return;
    const subflow = subflows.get(packet.flow);
    if (subflow === undefined) return cannot("unknown_connection");
    if (subflow.stage === OPEN) {
      const connection = connections.get(subflow.tokenLocal);
      if (connection === undefined) return cannot("unknown_connection");
      // Counted out at once: others may be about to end at the same time.
      if (fetchAdd(connection.subflows, minusOne) <= 1) {
        connection.subflows += 1;
        return cannot("last_subflow");
      }
      subflow.stage = OVER;
      lesson.news = CLOSED;
    } else if (ending.get(packet.flow) === undefined) {
      return;
    }
    const flow = ending.getOrCreate(packet.flow);
    if (flow === undefined) return cannot("no_room");
    if (now() < flow.sinceNs + patienceNs) return;
    flow.sinceNs = now();
    tcp.rst = true;
  },
});
