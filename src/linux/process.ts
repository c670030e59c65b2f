/** Which process is meant: a number alone may have gone to a later one. */
import { readFileSync } from "node:fs";

/** When a process started, in clock ticks since boot (field 22 of /proc/PID/stat); undefined when it is gone. */
export function startTimeOf(pid: number): string | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return undefined;
  }
  // The command's name, in parentheses, may contain anything.
  const rest = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return rest[0] === "Z" ? undefined : rest[19];
}
