/** Shares of a connection: every subflow is paced to its weight times what the one that is short of its share can carry. */
import {
  congestionState,
  min,
  u32,
  u64,
  type Connection,
  type StackSocket,
  type SubflowFacts,
} from "../../policy/index.ts";
import { strategy } from "../strategies.ts";
import type { Memory, State } from "./memory.ts";
import { pace } from "./pacing.ts";
import { windowOf } from "./paths.ts";

/** Rates per unit of weight have this many bits behind the point. */
const fraction = 10;

/**
 * Bytes per second that a subflow has under way per round trip; at most what arrives, while data waits. A window grows beyond
 * what is used of it where pacing is what limits, and the round trip is behind what was sent meanwhile.
 */
function carried(subflow: SubflowFacts): u64 {
  const window = windowOf(subflow);
  const waits = subflow.notSentBytes !== 0;
  const used = waits ? min(window, subflow.field("tcp_sock.max_packets_out", u32)) : window;
  const rate = (u64(used) * (subflow.mss & 0xffff) * 1_000_000) / subflow.srttUs;
  return waits && subflow.deliveryRate !== 0 ? min(rate, subflow.deliveryRate) : rate;
}

/**
 * Finds what a unit of weight carries: the least of what subflows carry ÷ weight. Who gets no answers does not count, or
 * a path that is gone would hold the others up.
 */
function findUnit(mine: Memory, connection: Connection, { strategies }: State): void {
  mine.unitRate = 0;
  mine.tightest = 0;
  for (const subflow of connection.subflows) {
    if (subflow.srttUs === 0 || subflow.caState === congestionState.loss) continue;
    const its = strategies.get(subflow.flow);
    if (its === undefined || its.kind !== strategy.weight || its.weight === 0) continue;
    const unitRate = (carried(subflow) << fraction) / its.weight;
    if (mine.tightest !== 0 && unitRate >= mine.unitRate) continue;
    mine.unitRate = unitRate;
    mine.tightest = subflow.id;
  }
}

/**
 * Paces a subflow by its weight. The one that decides may send a quarter more than it does, so that its window tells how much
 * that can be; the others exactly their share. A change below 1 in 128 is none.
 */
export function keepShare(socket: StackSocket, connection: Connection, mine: Memory, state: State): void {
  findUnit(mine, connection, state);
  const share = (mine.unitRate * mine.amount) >> fraction;
  const rate = mine.tightest === socket.id ? share + share / 4 : share;
  const isKnown = share !== 0 && socket.srttUs !== 0 && socket.caState !== congestionState.loss;
  pace(socket, mine, isKnown ? rate : mine.unpaced, mine.paced / 128);
}
