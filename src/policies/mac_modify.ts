import { actor, fallback, mac } from "../policy/index.ts";

/** Rewrites Ethernet addresses; all zeros leave one as it is. */
export const macModify = actor({
  name: "mac_modify",
  params: { destination: fallback(mac, "00:00:00:00:00:00"), source: fallback(mac, "00:00:00:00:00:00") },
  run({ ethernet }, { destination, source }) {
    if (destination !== 0) ethernet.destination = destination;
    if (source !== 0) ethernet.source = source;
  },
});
