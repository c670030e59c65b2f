/** Shares of a connection: every subflow is paced to its weight times what the one that is short of its share can carry. */
import { congestionState, max, min, u64, type Connection, type StackSocket } from "../../policy/index.ts";
import { strategy } from "../strategies.ts";
import type { Memory, State } from "./memory.ts";
import { pace } from "./pacing.ts";

/** Rates per unit of weight have this many bits behind the point. */
const fraction = 10;
/** How long arrivals are counted at least: two round trips, and long enough to even out what comes in bursts. */
const leastRoundUs = 100_000;

/** Forgets what was counted under another strategy. */
export function beginShare(socket: StackSocket, mine: Memory, { shares }: State): void {
  mine.roundUs = 0;
  mine.arrivedLast = 0;
  mine.arrivedBefore = 0;
  const told = shares.getOrCreate(socket.flow);
  if (told === undefined) return;
  told.carriedRate = 0;
  told.keepsUp = 0;
}

function beginRound(socket: StackSocket, mine: Memory): void {
  mine.roundUs = socket.lastEventUs;
  mine.roundDelivered = socket.delivered;
  mine.roundPaced = mine.paced;
  mine.roundBusy = 0;
}

/**
 * Counts what arrives, and tells the siblings: the best of three rounds, since noise only ever takes away from what a path
 * can carry, and whether all that pacing let through has arrived. A round without enough to send says nothing about the path.
 */
function tell(socket: StackSocket, mine: Memory, { shares }: State): void {
  if (socket.notSentBytes !== 0 || socket.isCwndLimited) mine.roundBusy = 1;
  if (mine.roundUs === 0) {
    beginRound(socket, mine);
    return;
  }
  const lastedUs = socket.lastEventUs - mine.roundUs;
  if (lastedUs < max(u64(socket.srttUs) * 2, leastRoundUs)) return;
  const told = shares.getOrCreate(socket.flow);
  if (told === undefined) return;
  const rate = (u64(socket.delivered - mine.roundDelivered) * (socket.mss & 0xffff) * 1_000_000) / lastedUs;
  const best = max(rate, max(mine.arrivedLast, mine.arrivedBefore));
  if (mine.roundBusy === 0) told.carriedRate = max(told.carriedRate, rate);
  else {
    told.carriedRate = best;
    mine.arrivedBefore = mine.arrivedLast;
    mine.arrivedLast = rate;
  }
  told.keepsUp = mine.roundBusy === 0 || rate * 16 >= mine.roundPaced * 15 ? 1 : 0;
  beginRound(socket, mine);
}

/**
 * Finds what a unit of weight carries: the least of what subflows carry ÷ weight. Who keeps up with its pacing could carry
 * more than it does. Backups do not count, nor who gets no answers: a path that is gone would hold the others up.
 */
function findUnit(mine: Memory, connection: Connection, { strategies, shares }: State): void {
  mine.unitRate = 0;
  mine.tightest = 0;
  for (const subflow of connection.subflows) {
    if (subflow.backup || subflow.caState === congestionState.loss) continue;
    const its = strategies.get(subflow.flow);
    if (its === undefined || its.kind !== strategy.weight || its.weight === 0) continue;
    const told = shares.get(subflow.flow);
    if (told === undefined || told.carriedRate === 0) continue;
    const carried = told.keepsUp === 0 ? told.carriedRate : told.carriedRate + told.carriedRate / 8;
    const unitRate = (carried << fraction) / its.weight;
    if (mine.tightest !== 0 && unitRate >= mine.unitRate) continue;
    mine.unitRate = unitRate;
    mine.tightest = subflow.id;
  }
}

/**
 * Paces a subflow by its weight. The one that decides may send a quarter more than it does, so that it shows how much that can
 * be; the others exactly their share. A change below 1 in 128 is none.
 */
export function keepShare(socket: StackSocket, connection: Connection, mine: Memory, state: State): void {
  tell(socket, mine, state);
  findUnit(mine, connection, state);
  const share = (mine.unitRate * mine.amount) >> fraction;
  const rate = mine.tightest === socket.id ? share + share / 4 : share;
  const isKnown = share !== 0 && socket.srttUs !== 0 && socket.caState !== congestionState.loss;
  pace(socket, mine, isKnown ? min(rate, mine.unpaced) : mine.unpaced, mine.paced / 128);
}
