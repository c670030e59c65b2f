/** Two actors whose marks come in pairs: what the first one leaves with a packet is what the second one expects. */
import { actor, cannot, perPacket, shared, u32, u64 } from "../../policy/index.ts";

const mark = perPacket({ value: u32 });

export const leaveMark = actor({
  name: "leave_mark",
  direction: "both",
  params: { value: u32 },
  state: { mark },
  run(_packet, { value }, { mark }) {
    mark.value = value;
  },
});

/** Counts packets with another mark than its own parameter, or without any. */
export const expectMark = actor({
  name: "expect_mark",
  direction: "both",
  params: { value: u32 },
  state: { mark, all: shared({ packets: u64, mismatches: u64 }) },
  run(_packet, { value }, { mark, all }) {
    all.packets += 1;
    if (mark.value !== value) all.mismatches += 1;
  },
});

/** Comes and goes between the two. */
export const between = actor({
  name: "between",
  direction: "both",
  run() {
    cannot("only_passing");
  },
});
