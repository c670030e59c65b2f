/** How urgently the calling thread runs. */
import os from "node:os";
import { check, declare } from "./ffi.ts";

const sched_setscheduler = declare("sched_setscheduler", "int", ["int", "int", "void *"]);
const sched_setaffinity = declare("sched_setaffinity", "int", ["int", "size_t", "void *"]);
const prctl = declare("prctl", "int", ["int", "unsigned long", "unsigned long", "unsigned long", "unsigned long"]);

const SCHED_OTHER = 0;
const SCHED_FIFO = 1;
const SCHED_RESET_ON_FORK = 0x4000_0000;
const PR_SET_TIMERSLACK = 29;

/**
 * Runs this thread before all ordinary ones where the system permits it, or with the highest ordinary priority, or as before.
 * For threads that mostly sleep but have to wake in time. Returns a function that takes it back.
 */
export function runUrgently(): () => void {
  const lowest = Uint8Array.of(1, 0, 0, 0);
  if (Number(sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, lowest)) === 0) {
    return () => void sched_setscheduler(0, SCHED_OTHER, new Uint8Array(4));
  }
  const before = os.getPriority();
  try {
    os.setPriority(os.constants.priority.PRIORITY_HIGHEST);
  } catch {
    return () => {};
  }
  return () => os.setPriority(before);
}

/** Keeps this thread on one processor, counted from 0. @throws SystemCallError EINVAL where there is no such processor */
export function stayOn(processor: number): void {
  const mask = new Uint8Array(128);
  mask[processor >> 3] = 1 << (processor & 7);
  check("sched_setaffinity", sched_setaffinity(0, mask.length, mask), `processor ${processor}`);
}

/** Wakes this thread from timed sleeps when asked; threads sleep 50 µs longer otherwise. */
export function sleepExactly(): void {
  prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
}
