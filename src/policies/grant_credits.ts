import {
  actor,
  cannot,
  compareExchange,
  fallback,
  fetchAdd,
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

const secondNs = 1_000_000_000;
/** What `burst` is unless it is given. */
const usualBurstNs = 10_000_000;
/** Subflows that sent an ACK in the last one share the rate; it should last for a round trip at least. */
const epochNs = 250_000_000;
/** Bytes that a subflow gets to begin with, and may hold when it uses nothing. */
const initial = 14_480;
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

interface Holder {
  /** The byte behind the last one granted, and the last one acknowledged. */
  upTo: number;
  acknowledged: number;
  servedNs: number;
  epoch: number;
  /** Bytes acknowledged in this epoch so far, and in the one before. */
  using: number;
  used: number;
}

/** Counts who takes part, and how many bytes of it arrive. */
function attend(budget: Budget, flow: Holder, arrived: u32, nowNs: u64): void {
  const epoch = nowNs / epochNs;
  if (budget.epoch !== epoch) {
    budget.sharing = budget.epoch + 1 === epoch ? budget.present : 0;
    budget.present = 0;
    budget.epoch = epoch;
  }
  if (flow.epoch !== epoch) {
    budget.present += 1;
    flow.used = flow.epoch + 1 === epoch ? flow.using : 0;
    flow.using = 0;
    flow.epoch = epoch;
  }
  flow.using += arrived;
}

/**
 * Hands out credit for a bottleneck with every ACK that leaves: `rate` (of frames, a 17th of which is taken for headers) in
 * all, evenly over time, in the order in which ACKs leave, at most `burst` bytes (what the rate gives in 10 ms unless told)
 * at once. Each subflow gets an equal share of the time since its last ACK; what others leave goes to those whose data
 * arrives, as much again as arrived. Nobody holds more than ten segments and twice what arrived of it lately.
 */
export const grantCredits = actor({
  name: "grant_credits",
  direction: "egress",
  params: { rate, burst: fallback(u32, 0) },
  state: {
    budget: shared({ handedNs: u64, epoch: u64, present: u32, sharing: u32 }),
    flows: flows({ servedNs: u64, epoch: u64, upTo: u32, acknowledged: u32, using: u32, used: u32 }),
  },
  run(packet, { rate, burst }, { budget, flows }) {
    const { tcp } = packet;
    if (tcp.syn) flows.delete(packet.flow);
    if (!tcp.ack || tcp.syn || tcp.fin || tcp.rst || tcp.payloadLength !== 0) return;
    const flow = flows.getOrCreate(packet.flow);
    if (flow === undefined) return cannot("no_room");
    const nowNs = now();
    const isNew = flow.servedNs === 0;
    const advance = u32(tcp.acknowledgment - flow.acknowledged);
    const arrived = isNew || advance > half ? 0 : advance;
    flow.acknowledged = tcp.acknowledgment;
    attend(budget, flow, arrived, nowNs);

    // What was sent without credit is forgotten.
    const isSpent = isNew || u32(flow.upTo - tcp.acknowledgment) > half;
    const upTo = isSpent ? tcp.acknowledgment : flow.upTo;
    const held = u32(upTo - tcp.acknowledgment);
    const most = max(flow.using, flow.used) * 2 + initial;
    const room = held < most ? most - held : 0;

    const payloadRate = rate - rate / 17;
    const burstNs = burst === 0 ? u64(usualBurstNs) : (u64(burst) * secondNs) / rate;
    const handedNs = budget.handedNs;
    // What nobody wanted is gone.
    const fromNs = max(handedNs, nowNs - burstNs);
    const levelNs = max(nowNs, fromNs) - fromNs;
    const sharing = max(max(budget.sharing, budget.present), 1);
    const share = (min(nowNs - flow.servedNs, epochNs) * payloadRate) / secondNs / sharing;
    const spare = levelNs * 2 > burstNs ? arrived : 0;
    let granted = min(min(share + spare, room), (levelNs * payloadRate) / secondNs);
    let costNs = (granted * secondNs) / payloadRate + 1;
    if (compareExchange(budget.handedNs, handedNs, fromNs + costNs) !== handedNs) {
      // Another processor was faster.
      granted = 0;
      costNs = 0;
    }
    if (!packet.insert([grantKind, grantLength, u16(grantExperiment), u32(upTo + granted)])) {
      fetchAdd(budget.handedNs, 0 - costNs);
      return cannot("option_space");
    }
    flow.upTo = u32(upTo + granted);
    flow.servedNs = nowNs;
  },
});
