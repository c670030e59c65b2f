/** Names that tell whose they are: a lab's namespaces carry the process that owns them, so that leftovers can be told. */
import { readFileSync } from "node:fs";

const prefix = "emptcp-";
const pattern = /^emptcp-p(\d+)t(\d+)n(\d+)-(\w+)$/;

let labs = 0;

/** A new run of this process, e.g. `p4711t88123n0`: process, its start in clock ticks since boot, and a count. */
export function newRunId(): string {
  return `p${process.pid}t${startTimeOf(process.pid)}n${labs++}`;
}

export function namespaceName(runId: string, where: string): string {
  return `${prefix}${runId}-${where}`;
}

/** Whose namespace a name is; undefined for names that are not a lab's. */
export function parseNamespaceName(
  name: string,
): { runId: string; pid: number; startTime: string; where: string } | undefined {
  const match = pattern.exec(name);
  if (match === null) return undefined;
  const [, pid, startTime, number, where] = match as unknown as [string, string, string, string, string];
  return { runId: `p${pid}t${startTime}n${number}`, pid: Number(pid), startTime, where };
}

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

/** Whether the process that made the name still runs. */
export function ownerAlive(owner: { pid: number; startTime: string }): boolean {
  return startTimeOf(owner.pid) === owner.startTime;
}
