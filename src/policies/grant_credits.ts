import {
  actor,
  cannot,
  compareExchange,
  fallback,
  known,
  flows,
  max,
  min,
  now,
  rate,
  shared,
  u16,
  u32,
  u64,
} from "../policy/index.ts";
import { grantExperiment, grantKind, grantLength } from "./credits.ts";
import { observeRtt } from "./rtt.ts";

const secondNs = 1_000_000_000;
/** What `burst` is unless it is given. */
const usualBurstNs = 8_000_000;
/** Subflows that sent an ACK in the last one share the rate. */
const epochNs = 250_000_000;
/** Two segments on top of what a subflow needs: one that is not whole, and one whose ACK is delayed. */
const slack = 2896;
/** For how long the shortest round trip counts. */
const leastTripNs = 10_000_000_000;
/** The round trip of a connection without timestamps. */
const unknownRttUs = 100_000;
/** Of the space of sequence numbers: what is further ahead is behind. */
const half = 0x8000_0000;

interface Budget {
  /** Everything that the rate gave until then is handed out. */
  handedNs: number;
  epoch: number;
  /** Subflows in this epoch so far, and in the one before. */
  present: number;
  sharing: number;
}

interface Use {
  rttUs: number;
  /** The shortest round trip of late, which has no queue in it, and since when it counts. */
  tripNs: number;
  tripFromNs: number;
  /** When a time as long as that began, the bytes that arrived since, and those in the one before. */
  roundNs: number;
  using: number;
  used: number;
}

/** Counts who takes part. */
function attend(budget: Budget, flow: { epoch: number }, nowNs: u64): void {
  const epoch = nowNs / epochNs;
  if (budget.epoch !== epoch) {
    budget.sharing = budget.epoch + 1 === epoch ? budget.present : 0;
    budget.present = 0;
    budget.epoch = epoch;
  }
  if (flow.epoch !== epoch) {
    budget.present += 1;
    flow.epoch = epoch;
  }
}

function measureTrip(flow: Use, nowNs: u64): void {
  const tripNs = (flow.rttUs === 0 ? u64(unknownRttUs) : flow.rttUs) * 1000;
  if (flow.tripNs !== 0 && flow.tripNs <= tripNs && nowNs - flow.tripFromNs < leastTripNs) return;
  flow.tripNs = tripNs;
  flow.tripFromNs = nowNs;
}

/** What a subflow may hold: half more than arrives of it in a round trip, or would at `rate`. */
function allowance(flow: Use, arrived: u32, rate: u64, nowNs: u64): u64 {
  flow.using += arrived;
  const elapsedNs = nowNs - flow.roundNs;
  if (elapsedNs >= flow.tripNs) {
    flow.used = u32((flow.using * flow.tripNs) / elapsedNs);
    flow.using = 0;
    flow.roundNs = nowNs;
  }
  const most = max(max(flow.using, flow.used), (rate * flow.tripNs) / secondNs);
  return most + most / 2 + slack;
}

/**
 * Hands out credit for a bottleneck with every ACK that leaves: `rate` (of frames, a 17th of which is taken for headers) in
 * all, evenly over time, in the order in which ACKs leave, at most `burst` bytes (what the rate gives in 8 ms unless told)
 * at once. Each subflow is owed an equal share; what others leave is for those who can use it. Nobody holds more than
 * one and a half times what it uses in a round trip, or would with its share, and two segments.
 */
export const grantCredits = actor({
  name: "grant_credits",
  direction: "both",
  params: { rate, burst: fallback(u32, 0) },
  state: {
    budget: shared({ handedNs: u64, epoch: u64, present: u32, sharing: u32 }),
    flows: flows({
      stampNs: u64,
      rttUs: known(u64, "rttUs"),
      tripNs: u64,
      tripFromNs: u64,
      servedNs: u64,
      roundNs: u64,
      epoch: u64,
      stamp: u32,
      upTo: u32,
      acknowledged: u32,
      using: u32,
      used: u32,
    }),
  },
  run(packet, { rate, burst }, { budget, flows }) {
    const { tcp } = packet;
    if (tcp.syn && !tcp.ack) flows.delete(packet.flow);
    if (tcp.fin || tcp.rst) return;
    const flow = flows.getOrCreate(packet.flow);
    if (flow === undefined) return cannot("no_room");
    observeRtt(packet, flow);
    if (packet.ingress || tcp.syn || tcp.payloadLength !== 0) return;
    const nowNs = now();
    const isNew = flow.servedNs === 0;
    const advance = u32(tcp.acknowledgment - flow.acknowledged);
    const arrived = isNew || advance > half ? 0 : advance;
    flow.acknowledged = tcp.acknowledgment;
    attend(budget, flow, nowNs);

    // What was sent without credit is forgotten.
    const isSpent = isNew || u32(flow.upTo - tcp.acknowledgment) > half;
    const upTo = isSpent ? tcp.acknowledgment : flow.upTo;
    const held = u32(upTo - tcp.acknowledgment);
    const payloadRate = rate - rate / 17;
    const fairRate = payloadRate / max(max(budget.sharing, budget.present), 1);
    measureTrip(flow, nowNs);
    const most = allowance(flow, arrived, fairRate, nowNs);
    const room = max(most, held) - held;

    const burstNs = burst === 0 ? u64(usualBurstNs) : (u64(burst) * secondNs) / rate;
    const handedNs = budget.handedNs;
    // What nobody wanted is gone.
    const fromNs = max(handedNs, nowNs - burstNs);
    const levelNs = max(nowNs, fromNs) - fromNs;
    const owedFromNs = max(flow.servedNs, nowNs - epochNs);
    const owed = ((nowNs - owedFromNs) * fairRate) / secondNs;
    // While others leave something, more than that.
    const wanted = levelNs * 2 > burstNs ? room : min(owed, room);
    let granted = min(wanted, (levelNs * payloadRate) / secondNs);
    const costNs = (granted * secondNs) / payloadRate + 1;
    // Zero where another processor was faster.
    if (compareExchange(budget.handedNs, handedNs, fromNs + costNs) !== handedNs) granted = 0;
    flow.servedNs = granted < owed ? owedFromNs + (granted * secondNs) / fairRate : nowNs;
    flow.upTo = upTo;
    // Where there is no room, something was lost: what would have been granted pays for sending that again.
    if (!packet.insert([grantKind, grantLength, u16(grantExperiment), u32(upTo + granted)]))
      return cannot("option_space");
    flow.upTo = u32(upTo + granted);
  },
});
