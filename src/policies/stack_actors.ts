/**
 * Actors on sockets that put a subflow under congestion control which is registered in the stack, and say what it is to do
 * there (`strategies.ts`). `control` is the name that it is registered under.
 */
import {
  cannot,
  choice,
  congestionControlName,
  fallback,
  rate,
  socketActor,
  u32,
  u64,
  u8,
  within,
  type Socket,
  type StateViews,
} from "../policy/index.ts";
import { coupling, strategy, subflowStrategies } from "./strategies.ts";

const control = fallback(congestionControlName, "emptcp");
const state = { strategies: subflowStrategies };
type State = StateViews<typeof state>;

/** Writes the strategy, the kind last; what a kind does not need is 0. False when there is no room for one. */
function follow(
  socket: Socket,
  { strategies }: State,
  kind: u8,
  windowBytes: u64,
  rateBytesPerSecond: u64,
  weight: u32,
  algorithm: u8,
): boolean {
  if (socket.event === "closed") {
    strategies.delete(socket.flow);
    return true;
  }
  const next = strategies.getOrCreate(socket.flow);
  if (next === undefined) return false;
  next.windowBytes = windowBytes;
  next.rateBytesPerSecond = rateBytesPerSecond;
  next.weight = weight;
  next.algorithm = algorithm;
  next.kind = kind;
  return true;
}

/** No more than `window` bytes under way. */
export const stackWindow = socketActor({
  name: "stack_window",
  at: ["established", "closed"],
  params: { window: within(u32, 1, 0x7fff_ffff), control },
  state,
  run(socket, { window, control }, state) {
    if (!follow(socket, state, strategy.window, u64(window), 0, 0, 0)) return cannot("no_room");
    if (socket.event !== "closed") socket.congestionControl = control;
  },
  release(socket, _params, { strategies }) {
    strategies.delete(socket.flow);
  },
});

/** Paced to `rate`. */
export const stackRate = socketActor({
  name: "stack_rate",
  at: ["established", "closed"],
  params: { rate, control },
  state,
  run(socket, { rate, control }, state) {
    if (!follow(socket, state, strategy.rate, 0, rate, 0, 0)) return cannot("no_room");
    if (socket.event !== "closed") socket.congestionControl = control;
  },
  release(socket, _params, { strategies }) {
    strategies.delete(socket.flow);
  },
});

/** A share of its connection's data as large as `weight` is among the weights of all its subflows. */
export const stackWeight = socketActor({
  name: "stack_weight",
  at: ["established", "closed"],
  params: { weight: within(u32, 1, 65_535), control },
  state,
  run(socket, { weight, control }, state) {
    if (!follow(socket, state, strategy.weight, 0, 0, weight, 0)) return cannot("no_room");
    if (socket.event !== "closed") socket.congestionControl = control;
  },
  release(socket, _params, { strategies }) {
    strategies.delete(socket.flow);
  },
});

/** No more than an actor on packets puts to its credit; what is there already stays. */
export const stackCredit = socketActor({
  name: "stack_credit",
  at: ["established", "closed"],
  params: { control },
  state,
  run(socket, { control }, state) {
    if (!follow(socket, state, strategy.credit, 0, 0, 0, 0)) return cannot("no_room");
    if (socket.event !== "closed") socket.congestionControl = control;
  },
  release(socket, _params, { strategies }) {
    strategies.delete(socket.flow);
  },
});

/** Coupled with the other subflows of its connection by `algorithm`. */
export const stackCoupled = socketActor({
  name: "stack_coupled",
  at: ["established", "closed"],
  params: { algorithm: choice("lia", "olia", "balia", "wvegas"), control },
  state,
  run(socket, { algorithm, control }, state) {
    let number: u8 = coupling.lia;
    if (algorithm === "olia") number = coupling.olia;
    if (algorithm === "balia") number = coupling.balia;
    if (algorithm === "wvegas") number = coupling.wvegas;
    if (!follow(socket, state, strategy.coupled, 0, 0, 0, number)) return cannot("no_room");
    if (socket.event !== "closed") socket.congestionControl = control;
  },
  release(socket, _params, { strategies }) {
    strategies.delete(socket.flow);
  },
});
