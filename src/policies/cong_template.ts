import { actor, cannot, claim, flows, known, rate, u32, u64 } from "../policy/index.ts";
import { learnConnections, learning } from "./connections.ts";
import { observeRtt } from "./rtt.ts";
import { congestionStrategies, strategy } from "./strategies.ts";

/** An example of a strategy for congestion control: as much under way as `rate` fills in one round trip of the subflow seen. */
export const congTemplate = actor({
  name: "cong_template",
  direction: "both",
  params: { rate },
  state: {
    ...learning,
    trips: flows({ stampNs: u64, rttUs: known(u64, "rttUs"), stamp: u32 }),
    strategies: congestionStrategies,
  },
  observe: learnConnections,
  run(packet, { rate }, { lesson, trips, strategies }) {
    const trip = trips.getOrCreate(packet.flow);
    if (trip === undefined) return cannot("no_room");
    observeRtt(packet, trip);
    if (lesson.tokenLocal === 0 || trip.rttUs === 0) return;
    const next = strategies.get(lesson.tokenLocal);
    if (next === undefined || !claim(next)) return;
    next.windowBytes = (rate * trip.rttUs) / 1_000_000;
    next.rateBytesPerSecond = rate;
    next.kind = strategy.window;
  },
});
