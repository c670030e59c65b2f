/** A policy that only the benchmark needs: the least that an actor can do to a packet. */
import { actor, min, u16 } from "../policy/index.ts";

/**
 * Caps the window field of every packet, then flips bits of it: a timed run meets its own changes, and what was capped once
 * would not be changed again.
 */
export const windowCap = actor({
  name: "window_cap",
  params: { window: u16, flip: u16 },
  run({ tcp }, { window, flip }) {
    tcp.window = min(tcp.window, window) ^ flip;
  },
});
