/** The mount table (proc(5), /proc/pid/mountinfo). */
import { readFileSync } from "node:fs";

export interface Mount {
  readonly path: string;
  /** E.g. `bpf`, `cgroup2`. */
  readonly type: string;
  readonly writable: boolean;
}

/** Parses the text of a mountinfo file. */
export function parseMountInfo(text: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split("\n")) {
    // Optional fields of any number lie between the mount options and the dash.
    const [before, after] = line.split(" - ");
    const [, , , , path, options] = before.split(" ");
    const type = after?.split(" ")[0];
    if (!path || !options || !type) continue;
    mounts.push({ path: unescape(path), type, writable: options.split(",").includes("rw") });
  }
  return mounts;
}

/** The mounts of this thread. */
export function mounts(): Mount[] {
  return parseMountInfo(readFileSync("/proc/thread-self/mountinfo", "utf8"));
}

/** Blanks in paths are written as octal numbers. */
function unescape(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
}
