import { actor, cannot, fallback, flows, max, now, rate, u32, u64 } from "../policy/index.ts";

/** `packet.ip.ecn` where the sender does not understand it, and where there is congestion (RFC 3168). */
const UNAWARE = 0;
const CONGESTED = 3;
/** What `burst` is unless it is given. */
const usualBurstNs = 100_000_000;
const secondNs = 1_000_000_000;

/** When what has passed will have flowed off at the rate. */
const bucket = { emptyNs: u64 };

/**
 * Holds each subflow that passes to `rate` in either direction, anywhere in the network: what comes faster than that by more
 * than `burst` bytes (what the rate gives in 100 ms unless told) is marked where its sender understands ECN, else dropped;
 * beyond twice the burst always dropped. Packets without payload pass.
 */
export const police = actor({
  name: "police",
  direction: "both",
  params: { rate, burst: fallback(u32, 0) },
  state: { arriving: flows(bucket), leaving: flows(bucket) },
  run(packet, { rate, burst }, { arriving, leaving }) {
    if (packet.tcp.payloadLength === 0) return;
    const flow = packet.ingress ? arriving.getOrCreate(packet.flow) : leaving.getOrCreate(packet.flow);
    if (flow === undefined) return cannot("no_room");
    const mostNs = burst === 0 ? u64(usualBurstNs) : (u64(burst) * secondNs) / rate;
    const nowNs = now();
    const emptyNs = max(flow.emptyNs, nowNs);
    const levelNs = emptyNs - nowNs;
    if (levelNs > mostNs) {
      if (packet.ip.ecn === UNAWARE || levelNs > mostNs * 2) {
        packet.drop();
        return;
      }
      packet.ip.ecn = CONGESTED;
    }
    flow.emptyNs = emptyNs + (u64(packet.length) * secondNs) / rate;
  },
});
