/** Coupled congestion control: how the window grows by LIA, OLIA, BALIA or wVegas. */
import { congestionState, max, min, reno, u32, u64, type Connection, type StackSocket } from "../../policy/index.ts";
import { coupling } from "../strategies.ts";
import { baliaGrowth, baliaKept } from "./balia.ts";
import { liaGrowth } from "./lia.ts";
import type { Memory, State } from "./memory.ts";
import { beginBest, compare, oliaBalance, oliaGain, oliaLoss } from "./olia.ts";
import { begin, counts, end, meet, mostWindow, rateOf, survey, windowOf } from "./paths.ts";
import { wvegasAvoid } from "./wvegas.ts";

const one = 65_536;

/** Finds OLIA's best subflow. What they carried is counted in KiB. */
function findBest(mine: Memory, connection: Connection, id: u32, { losses }: State): void {
  beginBest(mine);
  for (const subflow of connection.subflows) {
    if (!counts(subflow, id)) continue;
    const its = losses.get(subflow.flow);
    const since = its === undefined ? subflow.bytesAcked : subflow.bytesAcked - its.ackedAtLoss;
    const carried = its === undefined ? since : max(since, its.ackedBetweenLosses);
    compare(mine, carried >> 10, subflow.srttUs, windowOf(subflow), subflow.id === id);
  }
}

/** What OLIA adds to the window or takes from it for each packet, times the window. */
function oliaChange(mine: Memory, window: u32): void {
  const gain = oliaBalance(mine) + oliaGain(mine, mine);
  const loss = oliaLoss(mine, mine, window);
  mine.shrinks = gain >= loss ? 0 : 1;
  mine.growth = gain >= loss ? gain - loss : loss - gain;
}

/** For how many packets that is one. */
function oliaPackets(mine: Memory, window: u32): u32 {
  return mine.growth === 0 ? 0x7fff_ffff : max(u32((u64(min(window, mostWindow)) * one) / mine.growth), 1);
}

/** Looks at the siblings, and sets the pace of growth until the next look. */
export function couple(socket: StackSocket, connection: Connection | undefined, mine: Memory, state: State): void {
  const id = socket.id;
  const window = min(socket.cwnd, mostWindow);
  mine.shrinks = 0;
  mine.growth = mine.amount === coupling.olia ? one : window;
  mine.kept = one / 2;
  if (connection === undefined) {
    begin(mine);
    meet(mine, window, rateOf(window, socket.mss, socket.srttUs), true);
    end(mine);
    return;
  }
  survey(mine, connection, id);
  if (mine.sumRate === 0) return;
  if (mine.amount === coupling.lia) mine.growth = liaGrowth(mine, connection, id, window);
  else if (mine.amount === coupling.balia) {
    mine.growth = baliaGrowth(mine, window);
    mine.kept = baliaKept(mine);
  } else if (mine.amount === coupling.olia) {
    findBest(mine, connection, id, state);
    oliaChange(mine, windowOf(socket));
  }
}

/** Lets the window grow after an ACK; slow start is Reno's. */
export function growCoupled(socket: StackSocket, mine: Memory, ack: u32, acked: u32): void {
  if (mine.amount === coupling.wvegas) {
    if (socket.caState === congestionState.open) wvegasAvoid(socket, mine, mine, ack, acked);
    else reno.congAvoid(socket, ack, acked);
    return;
  }
  if (!socket.isCwndLimited) return;
  let left = acked;
  if (socket.cwnd < socket.ssthresh) {
    left = reno.slowStart(socket, acked);
    if (left === 0) return;
  }
  if (mine.shrinks === 0) {
    const growth = mine.amount === coupling.olia ? oliaPackets(mine, socket.cwnd) : max(mine.growth, socket.cwnd);
    reno.congAvoidAi(socket, growth, left);
    return;
  }
  mine.shrink = mine.shrink + left;
  if (mine.shrink < oliaPackets(mine, socket.cwnd)) return;
  mine.shrink = 0;
  socket.cwnd = max(socket.cwnd - 1, 2);
  // Or it would start slowly, up to where it was.
  socket.ssthresh = min(socket.ssthresh, socket.cwnd);
}

/** The threshold after a loss. */
export function coupledThreshold(socket: StackSocket, mine: Memory): u32 {
  return mine.amount === coupling.balia ? max(u32((u64(socket.cwnd) * mine.kept) / one), 2) : reno.ssthresh(socket);
}

/** Notes for OLIA how much was carried between two losses. */
export function noteLoss(socket: StackSocket, { losses }: State): void {
  const told = losses.getOrCreate(socket.flow);
  if (told === undefined || socket.bytesAcked === told.ackedAtLoss) return;
  told.ackedBetweenLosses = socket.bytesAcked - told.ackedAtLoss;
  told.ackedAtLoss = socket.bytesAcked;
}
