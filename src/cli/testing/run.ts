/** Runs the built command, as a person would. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const built = fileURLToPath(new URL("../../../dist/cli/main.js", import.meta.url));

export interface Answer {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** `emptcp …args`; `prefix` is what the command line starts with, e.g. a tool that takes rights away. */
export function emptcp(args: readonly string[], prefix: readonly string[] = []): Answer {
  if (!existsSync(built)) throw new Error(`Cannot test the command: ${built} is missing; npm run build makes it`);
  const [command, ...rest] = [...prefix, process.execPath, built, ...args] as [string, ...string[]];
  const { error, status, stdout, stderr } = spawnSync(command, rest, { encoding: "utf8" });
  if (error) throw error;
  return { status, stdout, stderr };
}

/** What a command printed with `--json`; fails when it failed. */
export function emptcpJson(...args: string[]): unknown {
  const { status, stdout, stderr } = emptcp([...args, "--json"]);
  if (status !== 0) throw new Error(`emptcp ${args.join(" ")}: exit code ${status}: ${stderr}`);
  return JSON.parse(stdout);
}
