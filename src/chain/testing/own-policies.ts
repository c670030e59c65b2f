/** Policies of a user's own, in a file that can be loaded again. */
import { actor, cannot, shared, u16, u64 } from "../../policy/index.ts";

/** Counts packets in its state. */
export const tally = actor({
  name: "tally",
  params: { step: u16 },
  state: { all: shared({ packets: u64 }) },
  run(_packet, { step }, { all }) {
    all.packets += step;
  },
});

/** Never does what it is there for. */
export const unable = actor({
  name: "unable",
  run() {
    cannot("never_can");
  },
});
