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
const usualBurstNs = 10_000_000;
/** Subflows that sent an ACK in the last one share the rate. */
const epochNs = 250_000_000;
/** What a subflow may hold when it uses nothing. */
const initial = 14_480;
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
  /** When its round trip began, the bytes that arrived since, and those in the one before. */
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

/** What a subflow may hold, by what arrives of it in a round trip. */
function allowance(flow: Use, arrived: u32, nowNs: u64): u32 {
  flow.using += arrived;
  const tripNs = (flow.rttUs === 0 ? u64(unknownRttUs) : flow.rttUs) * 1000;
  const elapsedNs = nowNs - flow.roundNs;
  if (elapsedNs >= tripNs) {
    flow.used = u32((flow.using * tripNs) / elapsedNs);
    flow.using = 0;
    flow.roundNs = nowNs;
  }
  const most = max(flow.using, flow.used);
  return most + most / 2 + initial;
}

/**
 * Hands out credit for a bottleneck with every ACK that leaves: `rate` (of frames, a 17th of which is taken for headers) in
 * all, evenly over time, in the order in which ACKs leave, at most `burst` bytes (what the rate gives in 10 ms unless told)
 * at once. Each subflow gets an equal share of the time since its last ACK; what others leave goes to those whose data
 * arrives, as much again as arrived. Nobody holds more than ten segments and one and a half times what arrives of it in a
 * round trip.
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
    if (tcp.syn) {
      flows.delete(packet.flow);
      return;
    }
    if (!tcp.ack || tcp.fin || tcp.rst) return;
    const flow = flows.getOrCreate(packet.flow);
    if (flow === undefined) return cannot("no_room");
    observeRtt(packet, flow);
    if (packet.ingress || tcp.payloadLength !== 0) return;
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
    const most = allowance(flow, arrived, nowNs);
    const room = held < most ? most - held : 0;

    const payloadRate = rate - rate / 17;
    const burstNs = burst === 0 ? u64(usualBurstNs) : (u64(burst) * secondNs) / rate;
    const handedNs = budget.handedNs;
    // What nobody wanted is gone.
    const fromNs = max(handedNs, nowNs - burstNs);
    const levelNs = max(nowNs, fromNs) - fromNs;
    const levelBytes = (levelNs * payloadRate) / secondNs;
    // Its part of the time that it has not been given yet; all that it can take when others leave something.
    const sharing = max(max(budget.sharing, budget.present), 1);
    const owedFromNs = max(flow.servedNs, nowNs - epochNs);
    const owed = ((nowNs - owedFromNs) * payloadRate) / secondNs / sharing;
    const step = max(arrived * 2, initial - min(held, initial));
    const wanted = min(room, step);
    let granted = min(levelNs * 2 > burstNs ? wanted : min(owed, wanted), levelBytes);
    const costNs = (granted * secondNs) / payloadRate + 1;
    // Zero where another processor was faster.
    if (compareExchange(budget.handedNs, handedNs, fromNs + costNs) !== handedNs) granted = 0;
    flow.servedNs = granted < owed ? owedFromNs + (granted * sharing * secondNs) / payloadRate : nowNs;
    flow.upTo = upTo;
    // Where there is no room, something was lost: what would have been granted pays for sending that again.
    if (!packet.insert([grantKind, grantLength, u16(grantExperiment), u32(upTo + granted)]))
      return cannot("option_space");
    flow.upTo = u32(upTo + granted);
  },
});
