/**
 * Strategies that actors on packets formulate for actors in the stack (schedulers, congestion control): the contract between
 * the two. A record's flag says whose turn it is, so that neither waits for the other nor does the same work twice: the
 * stack makes the record, acts on what it holds, and offers it when it wants to know more; an actor on packets that claims it
 * writes the next strategy. Fields of a strategy are 0 until there is one.
 */
import { claimable, flows, hostWide, table, u32, u64 } from "../policy/index.ts";

/** For congestion control: what a connection may have under way and send, by the token of this host. */
export const congestionStrategies = hostWide(
  "cong_strategies",
  claimable(table(u32, { windowBytes: u64, rateBytesPerSecond: u64 }, 4096)),
);

/** For schedulers: how much of a connection's data a subflow should carry, relative to the others'. */
export const subflowStrategies = hostWide("sched_strategies", claimable(flows({ weight: u32, rttUs: u32 }, 16_384)));
