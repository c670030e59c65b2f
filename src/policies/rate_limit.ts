import { actor, cannot, flows, kind, known, min, rate, shared, u16, u32, u64, u8 } from "../policy/index.ts";
import { observeRtt } from "./rtt.ts";

/** The largest shift a window may have (RFC 7323, section 2.3). */
const maximumScale = 14;

/**
 * Caps a whole connection: the receive window that its peer's ACKs carry becomes what `rate` fills in one round trip. Attach
 * it to every interface of the connection: the sender obeys the largest window that any subflow shows it. The shortest
 * round trip counts, because a connection held below its paths' capacity sends on the fastest one.
 */
export const rateLimit = actor({
  name: "rate_limit",
  direction: "both",
  params: { rate },
  state: {
    flows: flows({
      stampNs: u64,
      rttUs: known(u64, "rttUs"),
      stamp: u32,
      scale: known(u8, "windowScale"),
      scaleKnown: known(u8, "present"),
    }),
    shortest: shared({ rttUs: u64, port: u16 }),
  },
  run(packet, { rate }, { flows, shortest }) {
    const { tcp } = packet;
    if (tcp.rst) return;
    const flow = flows.getOrCreate(packet.flow);
    if (flow === undefined) return cannot("no_room");
    observeRtt(packet, flow);
    if (packet.egress) return;
    if (tcp.syn) {
      flow.scale = 0;
      for (const option of tcp.options) {
        if (option.kind !== kind.windowScale) continue;
        flow.scale = min(option.u8(2), maximumScale);
        break;
      }
      flow.scaleKnown = 1;
      return;
    }
    if (flow.scaleKnown === 0) return cannot("unknown_scale");
    if (flow.rttUs === 0) return cannot("unknown_rtt");
    const ownsShortest = shortest.port === packet.flow.localPort;
    if (shortest.rttUs === 0 || ownsShortest || flow.rttUs < shortest.rttUs) {
      shortest.rttUs = flow.rttUs;
      shortest.port = packet.flow.localPort;
    }
    const bytes = (rate * shortest.rttUs) / 1_000_000;
    const window = bytes >> flow.scale;
    if (window < tcp.window) tcp.window = u16(window === 0 ? 1 : min(window, 65_535));
  },
});
