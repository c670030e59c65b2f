import { actor, cannot, claim, flows, known, max, min, u32, u64 } from "../policy/index.ts";
import { observeRtt } from "./rtt.ts";
import { strategy, subflowStrategies } from "./strategies.ts";

/** The weight of a subflow with a round trip of one millisecond. */
const atOneMs = 10_000;

/** An example of a strategy for schedulers: the shorter a subflow's round trip, the more it should carry. */
export const schedTemplate = actor({
  name: "sched_template",
  direction: "both",
  state: {
    trips: flows({ stampNs: u64, rttUs: known(u64, "rttUs"), stamp: u32 }),
    strategies: subflowStrategies,
  },
  run(packet, _params, { trips, strategies }) {
    const trip = trips.getOrCreate(packet.flow);
    if (trip === undefined) return cannot("no_room");
    observeRtt(packet, trip);
    if (trip.rttUs === 0) return;
    const next = strategies.get(packet.flow);
    if (next === undefined || !claim(next)) return;
    const rttUs = u32(min(trip.rttUs, 10_000_000));
    next.rttUs = rttUs;
    next.weight = max((atOneMs * 1000) / rttUs, 1);
    next.kind = strategy.weight;
  },
});
