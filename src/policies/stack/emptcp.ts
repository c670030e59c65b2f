/** The executor: congestion control that does, for each subflow, what its strategy says, on top of a base algorithm. */
import {
  base,
  congestionControl,
  congestionEvent,
  congestionState,
  fetchAdd,
  max,
  min,
  offer,
  reno,
  u32,
  u64,
  type StackSocket,
} from "../../policy/index.ts";
import { coupling, strategy } from "../strategies.ts";
import { attach, detach } from "./attach.ts";
import { couple, coupledThreshold, growCoupled, noteLoss } from "./coupled.ts";
import { endCredit, isExpired, isRecovering, spend } from "./credit.ts";
import { measure } from "./measure.ts";
import { state, type Memory, type State } from "./memory.ts";
import { beginPacing, endPacing, forgetPacing, pace } from "./pacing.ts";
import { beginShare, keepShare } from "./weight.ts";

/** How often a subflow looks its strategy up, and tells others how it is. */
const refreshUs = 1000;
const leastWindow = 2;
const minusOne = 0xffff_ffff;
/** Bytes per second. */
const freely = 0xffff_fffe;

/** How much a strategy asks for, 0 of one that makes no sense. Credits have an account, which may be empty. */
function amountOf(kind: u32, algorithm: u32, weight: u32, windowBytes: u64, rate: u64): u64 {
  if (kind === strategy.window) return windowBytes;
  if (kind === strategy.rate) return rate;
  if (kind === strategy.credit) return 1;
  if (kind === strategy.weight) return u64(weight);
  if (kind === strategy.coupled && algorithm <= coupling.wvegas) return u64(algorithm);
  return 0;
}

/** Whether the window grows by the strategy rather than by the base. */
function grows(kind: u32): boolean {
  return kind === strategy.credit || kind === strategy.coupled;
}

function paces(kind: u32): boolean {
  return kind === strategy.rate || kind === strategy.weight || kind === strategy.credit;
}

/** Changes to another kind of strategy: what the one before has left behind goes. */
function change(socket: StackSocket, mine: Memory, state: State, kind: u32, hasGrowth: boolean): void {
  const was = mine.kind;
  if (paces(was) && !paces(kind)) endPacing(socket, mine, state);
  if (paces(kind) && !paces(was)) beginPacing(socket, mine, state);
  if (kind === strategy.weight) beginShare(socket, mine, state);
  // A base that has not been asked for long would take that for a time in which the window did not grow.
  if (hasGrowth && grows(was) && !grows(kind)) base.init(socket);
  if (was === strategy.credit) {
    endCredit(socket);
    fetchAdd(state.users.credit, minusOne);
  }
  if (kind === strategy.credit) fetchAdd(state.users.credit, 1);
  mine.kind = kind;
  mine.roundEnd = socket.sndNxt;
  mine.alpha = 0;
  mine.queueUs = 0;
}

/**
 * Looks up what the strategy is: the subflow's, or else the connection's. Who wants to may write the next one. A base
 * whose growth cannot be replaced, for want of `congAvoid`, is not coupled.
 */
function choose(socket: StackSocket, mine: Memory, state: State, hasGrowth: boolean): void {
  const { strategies, congestion } = state;
  let kind: u32 = strategy.none;
  let amount: u64 = 0;
  const its = strategies.get(socket.flow);
  if (its !== undefined) {
    kind = its.kind;
    amount = amountOf(kind, its.algorithm, its.weight, its.windowBytes, its.rateBytesPerSecond);
    if (kind === strategy.credit && isExpired(socket, mine, its.creditBytes)) amount = 0;
    offer(its);
  }
  const connection = socket.connection;
  if (amount === 0 && connection !== undefined) {
    const shared = congestion.get(connection.token);
    if (shared !== undefined) {
      kind = shared.kind;
      amount = amountOf(kind, shared.algorithm, 0, shared.windowBytes, shared.rateBytesPerSecond);
      if (kind === strategy.credit) amount = 0;
      offer(shared);
    }
  }
  if (amount === 0 || (kind === strategy.coupled && !hasGrowth)) kind = strategy.none;
  mine.amount = amount;
  if (kind !== mine.kind) change(socket, mine, state, kind, hasGrowth);
}

function refresh(socket: StackSocket, mine: Memory, state: State, hasGrowth: boolean): void {
  mine.refreshedUs = socket.lastEventUs;
  if (mine.attached === 0) attach(socket, mine, state);
  choose(socket, mine, state, hasGrowth);
  const connection = socket.connection;
  if (mine.kind === strategy.rate) pace(socket, mine, mine.amount, 0);
  // Credits come unevenly: a limit that is none makes the kernel space what they allow over the round trip.
  if (mine.kind === strategy.credit) pace(socket, mine, freely, 0);
  if (hasGrowth && mine.kind === strategy.coupled) couple(socket, connection, mine, state);
  if (connection === undefined) return;
  if (mine.kind === strategy.weight) keepShare(socket, connection, mine, state);
  measure(socket, connection, mine, state);
}

/** No more than `windowBytes` under way. */
function cap(socket: StackSocket, mine: Memory): void {
  const most = max(u32(min(mine.amount / socket.mss, 0x7fff_ffff)), leastWindow);
  if (socket.cwnd > most) socket.cwnd = most;
}

/** Spends credits between two looks at the strategy. Finding a socket's memory takes time, which the other kinds are spared. */
function spendWhereAsked(socket: StackSocket, state: State): void {
  if (state.users.credit === 0) return;
  const mine = state.own.get(socket);
  if (mine !== undefined && mine.kind === strategy.credit && !isRecovering(socket)) spend(socket, state);
}

/** Growth is the algorithm's or the account's instead of the base's; recovery from losses is the kernel's always. */
export const emptcp = congestionControl({
  name: "emptcp",
  state,
  init(socket, state) {
    base.init(socket);
    const mine = state.own.getOrCreate(socket);
    if (mine === undefined) return;
    mine.refreshedUs = 0;
    mine.granted = 0;
    mine.grantedUs = socket.lastEventUs;
    choose(socket, mine, state, true);
    if (mine.kind !== strategy.rate && mine.kind !== strategy.weight) forgetPacing(socket, state);
    if (mine.kind === strategy.window) cap(socket, mine);
  },
  congAvoid(socket, ack, acked, state) {
    const mine = state.own.getOrCreate(socket);
    if (mine === undefined) {
      base.congAvoid(socket, ack, acked);
      return;
    }
    if (socket.lastEventUs - mine.refreshedUs >= refreshUs) refresh(socket, mine, state, true);
    if (mine.kind === strategy.coupled) growCoupled(socket, mine, ack, acked);
    else if (mine.kind === strategy.credit && !isRecovering(socket)) spend(socket, state);
    else {
      base.congAvoid(socket, ack, acked);
      if (mine.kind === strategy.window) cap(socket, mine);
    }
  },
  congControl(socket, ack, flag, sample, state) {
    base.congControl(socket, ack, flag, sample);
    const mine = state.own.getOrCreate(socket);
    if (mine === undefined) return;
    if (socket.lastEventUs - mine.refreshedUs >= refreshUs) refresh(socket, mine, state, false);
    if (mine.kind === strategy.window) cap(socket, mine);
    else if (mine.kind === strategy.credit) spend(socket, state);
  },
  // Credits come on ACKs that acknowledge nothing, too: this is called for each while anything is under way.
  pktsAcked(socket, sample, state) {
    base.pktsAcked(socket, sample);
    spendWhereAsked(socket, state);
  },
  cwndEvent(socket, event, state) {
    base.cwndEvent(socket, event);
    // Those that came while nothing was.
    if (event === congestionEvent.transmitStart) spendWhereAsked(socket, state);
  },
  ssthresh(socket, { own }) {
    const mine = own.get(socket);
    return mine !== undefined && mine.kind === strategy.coupled
      ? coupledThreshold(socket, mine)
      : base.ssthresh(socket);
  },
  undoCwnd(socket, { own }) {
    const mine = own.get(socket);
    return mine !== undefined && mine.kind === strategy.coupled ? reno.undoCwnd(socket) : base.undoCwnd(socket);
  },
  setState(socket, next, state) {
    base.setState(socket, next);
    if (next < congestionState.cwr) return;
    const mine = state.own.get(socket);
    if (mine === undefined || mine.kind !== strategy.coupled || mine.amount !== coupling.olia) return;
    noteLoss(socket, state);
  },
  release(socket, state) {
    base.release(socket);
    const mine = state.own.get(socket);
    if (mine === undefined) return;
    detach(socket, mine, state);
    if (mine.kind === strategy.credit) fetchAdd(state.users.credit, minusOne);
    mine.kind = strategy.none;
  },
});
