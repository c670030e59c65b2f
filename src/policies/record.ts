import { actor, cannot, flows, u32, u64 } from "../policy/index.ts";
import { observeRtt } from "./rtt.ts";

/** Counts packets and bytes of every subflow, in both directions, and measures its round-trip time. Changes nothing. */
export const record = actor({
  name: "record",
  direction: "both",
  state: {
    flows: flows({
      packetsIn: u64,
      bytesIn: u64,
      packetsOut: u64,
      bytesOut: u64,
      stampNs: u64,
      rttUs: u64,
      stamp: u32,
    }),
  },
  run(packet, _params, { flows }) {
    const flow = flows.getOrCreate(packet.flow);
    if (flow === undefined) return cannot("no_room");
    if (packet.ingress) {
      flow.packetsIn += 1;
      flow.bytesIn += packet.length;
    } else {
      flow.packetsOut += 1;
      flow.bytesOut += packet.length;
    }
    observeRtt(packet, flow);
  },
});
