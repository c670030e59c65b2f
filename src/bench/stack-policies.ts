/** Congestion control that only the benchmark needs. */
import { congestionControl } from "../policy/index.ts";

/**
 * The base, called by programs that do nothing besides, and an operation that does not even that: what it is said to take is
 * what it costs to measure a program.
 */
export const passThrough = congestionControl({
  name: "pass_through",
  inAckEvent() {},
});
