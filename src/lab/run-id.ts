/** Names that tell whose they are: a lab's namespaces carry the process that owns them, so that leftovers can be told. */
import { startTimeOf } from "../linux/process.ts";

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

/** Whether the process that made the name still runs. */
export function ownerAlive(owner: { pid: number; startTime: string }): boolean {
  return startTimeOf(owner.pid) === owner.startTime;
}
