import { actor } from "../policy/index.ts";

/** Drops what the selectors pick. */
export const drop = actor({
  name: "drop",
  run(packet) {
    packet.drop();
  },
});
