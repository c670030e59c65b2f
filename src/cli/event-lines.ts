/** Events as lines for people, and as objects for programs. */
import type { MptcpEvent } from "../linux/mptcp-events.ts";
import { colours } from "./output.ts";
import { describeMptcpEvent, formatToken } from "./watch/render.ts";

/** `12:00:01.250`, in the time zone of the reader. */
function formatTime(timeMs: number): string {
  const time = new Date(timeMs);
  return `${time.toTimeString().slice(0, 8)}.${String(time.getMilliseconds()).padStart(3, "0")}`;
}

/** Chains and path manager stand in the same columns. */
export function lineOf(timeMs: number, source: string, rest: string): string {
  return `${colours.dim(formatTime(timeMs))}  ${source.padEnd(16)}  ${rest}`.trimEnd();
}

export function mptcpLine({ timeMs, token, ...event }: MptcpEvent): string {
  return lineOf(
    timeMs,
    token === undefined ? "mptcp" : `mptcp ${formatToken(token)}`,
    describeMptcpEvent({ ...event, timeMs }),
  );
}

export function mptcpJson({ timeMs, kind, ...event }: MptcpEvent) {
  return { time: new Date(timeMs).toISOString(), source: "mptcp", event: kind, ...event };
}
