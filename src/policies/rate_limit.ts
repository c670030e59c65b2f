import { actor, cannot, flows, known, max, min, now, rate, subtype, u32, u64, u8 } from "../policy/index.ts";
import { observeRtt } from "./rtt.ts";
import { learnScale, lowerWindow } from "./window.ts";

/** Flags of an MPTCP DSS option (RFC 8684, section 3.3): a data ACK is there, and it has 8 bytes. */
const DATA_ACK = 0x01;
const DATA_ACK_8 = 0x02;
/** How often the window is corrected: at least this apart, and four round trips. */
const intervalUs = 100_000;
/** Two full segments: with less the sender waits for its own timers. */
const leastWindow = 3_000;
/** No window is larger than this many round trips' worth. */
const most = 16;
/** Stands in for the round-trip time of a connection without TCP timestamps. */
const unknownRttUs = 100_000;

interface Control {
  /** Window in bytes, and since when and from which acknowledgment on its effect is measured. */
  window: number;
  sinceNs: number;
  since: number;
  rttUs: number;
}

/**
 * Corrects the window half-way to what would have given `rate`, from what was acknowledged since the last time. It starts at
 * what the rate fills in one round trip; reordering between paths can make that several times too little. It grows only
 * while it is in use: a sender with little to send would otherwise find it wide open later.
 */
function correct(flow: Control, acknowledged: u32, rate: u64): void {
  const rttUs = flow.rttUs === 0 ? unknownRttUs : flow.rttUs;
  const nowNs = now();
  const elapsedUs = (nowNs - flow.sinceNs) / 1000;
  if (flow.sinceNs !== 0 && elapsedUs < max(intervalUs, rttUs * 4)) return;
  const oneTrip = (rate * rttUs) / 1_000_000;
  const bytes = u64(u32(acknowledged - flow.since));
  if (flow.sinceNs === 0) {
    flow.window = max(oneTrip, leastWindow);
  } else if (bytes !== 0 && bytes < 0x8000_0000) {
    const expected = min((rate * elapsedUs) / 1_000_000, bytes * 3);
    const wanted = (flow.window * (expected + bytes)) / (bytes * 2);
    const inUse = bytes * 4 >= flow.window;
    if (wanted < flow.window || inUse) flow.window = max(min(wanted, oneTrip * most), leastWindow);
  }
  flow.sinceNs = nowNs;
  flow.since = acknowledged;
}

/**
 * Caps a whole connection by the receive window in the ACKs it gets. Attach it to every interface of the connection: the
 * sender obeys the largest window that any subflow shows it. What counts is the data acknowledged, which every subflow of a
 * connection reports alike; a plain TCP connection is its own only subflow.
 */
export const rateLimit = actor({
  name: "rate_limit",
  direction: "both",
  params: { rate },
  state: {
    flows: flows({
      stampNs: u64,
      sinceNs: u64,
      window: u64,
      rttUs: known(u64, "rttUs"),
      stamp: u32,
      since: u32,
      scale: known(u8, "windowScale"),
      scaleKnown: known(u8, "present"),
      isMptcp: u8,
    }),
  },
  run(packet, { rate }, { flows }) {
    const { tcp } = packet;
    if (tcp.rst) return;
    const flow = flows.getOrCreate(packet.flow);
    if (flow === undefined) return cannot("no_room");
    observeRtt(packet, flow);
    if (packet.egress) return;
    if (tcp.syn) {
      learnScale(packet, flow);
      return;
    }
    if (flow.scaleKnown === 0) return cannot("unknown_scale");
    let acknowledged = tcp.acknowledgment;
    let reported = flow.isMptcp === 0;
    for (const option of tcp.options) {
      if (option.subtype !== subtype.dss || (option.u8(3) & DATA_ACK) === 0) continue;
      acknowledged = (option.u8(3) & DATA_ACK_8) !== 0 ? option.u32(8) : option.u32(4);
      flow.isMptcp = 1;
      reported = true;
      break;
    }
    if (reported) correct(flow, acknowledged, rate);
    if (flow.window !== 0) lowerWindow(tcp, flow.window, flow.scale);
  },
});
