/** Caps of pacing, by setsockopt and therefore written only where something changes. */
import { min, u32, u64, type StackSocket } from "../../policy/index.ts";
import type { Memory } from "./memory.ts";

/** SO_MAX_PACING_RATE without a limit, in the four bytes that it has here; in the kernel it is then 2^64 - 1. */
const unlimited = 0xffff_ffff;

/** Begins to pace, and notes what the application wanted. */
export function beginPacing(socket: StackSocket, mine: Memory): void {
  mine.unpaced = min(socket.maxPacingRate, unlimited);
  mine.paced = mine.unpaced;
}

/** Paces to `rate` bytes per second, unless the application wants less. `slack` is the change that is not worth a call. */
export function pace(socket: StackSocket, mine: Memory, rate: u64, slack: u64): void {
  const present = min(socket.maxPacingRate, unlimited);
  if (present !== mine.paced) mine.unpaced = present;
  const wanted = min(rate, mine.unpaced);
  const away = wanted > present ? wanted - present : present - wanted;
  if (away > slack) socket.maxPacingRate = u64(wanted);
  mine.paced = away > slack ? wanted : present;
}

/** Puts back what there was before, or what the application has set since. */
export function endPacing(socket: StackSocket, mine: Memory): void {
  if (u32(min(socket.maxPacingRate, unlimited)) === mine.paced) socket.maxPacingRate = mine.unpaced;
}
