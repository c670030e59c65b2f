/** Caps of pacing, by setsockopt and therefore written only where something changes. */
import { min, u64, type StackSocket } from "../../policy/index.ts";
import type { Memory, State } from "./memory.ts";

/** SO_MAX_PACING_RATE without a limit, in the four bytes that it has here; in the kernel it is then 2^64 - 1. */
const unlimited = 0xffff_ffff;

/** SK_PACING_NONE (include/net/sock.h). */
const NOBODY = 0;

/** Begins to pace, and notes what the application wanted. */
export function beginPacing(socket: StackSocket, mine: Memory, { strategies }: State): void {
  mine.unpaced = min(socket.maxPacingRate, unlimited);
  mine.paced = mine.unpaced;
  mine.pacedBy = socket.pacingStatus;
  const its = strategies.get(socket.flow);
  if (its === undefined) return;
  // What paced before this and was replaced while it did has left its own cap behind, and this.
  if (its.unpaced === 0) its.unpaced = mine.unpaced;
  else mine.unpaced = its.unpaced;
}

/** Paces to `rate` bytes per second, unless the application wants less. `slack` is the change that is not worth a call. */
export function pace(socket: StackSocket, mine: Memory, rate: u64, slack: u64): void {
  const present = min(socket.maxPacingRate, unlimited);
  // Set by the application meanwhile.
  if (present !== mine.paced) mine.unpaced = present;
  const wanted = min(rate, mine.unpaced);
  const away = wanted > present ? wanted - present : present - wanted;
  if (away > slack) socket.maxPacingRate = wanted;
  mine.paced = away > slack ? wanted : present;
}

/** Puts back what there was before, or leaves what the application has set since. */
export function endPacing(socket: StackSocket, mine: Memory, { strategies }: State): void {
  if (min(socket.maxPacingRate, unlimited) === mine.paced) socket.maxPacingRate = mine.unpaced;
  mine.paced = 0;
  // Else it would pace itself from now on.
  if (mine.pacedBy === NOBODY && mine.unpaced === unlimited) socket.pacingStatus = NOBODY;
  const its = strategies.get(socket.flow);
  if (its !== undefined) its.unpaced = 0;
}

/** Puts back what there was before a version of this that was replaced. */
export function forgetPacing(socket: StackSocket, { strategies }: State): void {
  const its = strategies.get(socket.flow);
  if (its === undefined || its.unpaced === 0) return;
  socket.maxPacingRate = its.unpaced;
  its.unpaced = 0;
}
