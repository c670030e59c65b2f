/** Who makes second subflows on a host of a lab: the kernel, controllers in a process of their own, or a foreign daemon. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { withNetns } from "../../linux/netns.ts";
import { PathManager } from "../../linux/path-manager.ts";
import type { Lab } from "../lab.ts";
import { runnableModule } from "../runnable.ts";
import type { ControllersChoice } from "./controllers-process.ts";

export type PathManagerChoice =
  /** The kernel's own, which opens a subflow from each of these addresses. */
  | { readonly kind: "kernel"; readonly addresses: readonly string[] }
  /** Controllers of `emptcp/paths` in a Node process of their own, as `emptcp paths run` would run them. */
  | ({ readonly kind: "controllers" } & ControllersChoice)
  /** A program that listens to the events of the path manager, e.g. mptcpd; it is ready once it does. */
  | { readonly kind: "command"; readonly command: readonly [string, ...string[]] }
  /** Nobody: connections are left to user space, in which the caller runs something. */
  | { readonly kind: "caller" };

export interface RunningPathManager {
  /** Of the process that decides; undefined for the kernel and the caller. */
  readonly pid?: number;
  /** @throws Error with what it said, when the process has ended by itself */
  readonly check: () => void;
  /** Ends it and gives the host back to the kernel's path manager, without endpoints. Safe to call twice. */
  readonly stop: () => Promise<void>;
}

const readyMs = 10_000;

/**
 * Lets somebody manage the paths of the connections that a host opens from now on; it goes with the lab.
 * @throws Error when the process ends at once, or is not ready after 10 s, with what it said
 */
export async function startPathManager(lab: Lab, host: string, choice: PathManagerChoice): Promise<RunningPathManager> {
  const { netns } = lab.host(host);
  setPathManager(lab, host, choice.kind === "kernel" ? "kernel" : "userspace");
  using manager = new PathManager({ netns });
  manager.flushEndpoints();
  if (choice.kind === "kernel")
    for (const address of choice.addresses) manager.addEndpoint({ address, flags: ["subflow"] });
  const own = choice.kind === "controllers" || choice.kind === "command" ? new Daemon(lab, host, choice) : undefined;
  try {
    await own?.ready();
  } catch (error) {
    setPathManager(lab, host, "kernel");
    throw error;
  }
  return {
    ...(own && { pid: own.pid }),
    check: () => own?.check(),
    stop: async () => {
      await own?.stop();
      lab.check();
      setPathManager(lab, host, "kernel");
      using after = new PathManager({ netns });
      after.flushEndpoints();
    },
  };
}

function setPathManager(lab: Lab, host: string, name: "kernel" | "userspace"): void {
  lab.inHost(host, () => writeFileSync("/proc/sys/net/mptcp/path_manager", name));
}

/** A process in a host's namespace that ends with the lab. */
class Daemon {
  readonly #child: ChildProcess;
  readonly #label: string;
  readonly #forget: () => void;
  #said = "";
  #ended: string | undefined;

  constructor(lab: Lab, host: string, choice: Extract<PathManagerChoice, { kind: "controllers" | "command" }>) {
    const [program, ...args] =
      choice.kind === "command"
        ? choice.command
        : [process.execPath, runnableModule("lab/workload/controllers-process.ts"), JSON.stringify(choice)];
    this.#label = choice.kind === "command" ? program : "the process of the controllers";
    const child = withNetns(lab.host(host).netns, () => spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] }));
    this.#child = child;
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (data: Buffer) => (this.#said = (this.#said + data.toString()).slice(-4000)));
    child.stdin.on("error", () => {});
    child.on("error", (error) => (this.#ended = error.message));
    // Not before all that it said was read.
    child.on("close", (code, signal) => (this.#ended ??= `exit code ${code}, signal ${signal}`));
    this.#forget = lab.whenClosed(() => child.kill("SIGKILL"));
  }

  get pid(): number {
    return this.#child.pid!;
  }

  check(): void {
    if (this.#ended !== undefined) throw new Error(`${this.#label} ended: ${this.#ended}; ${this.#said.trim()}`);
  }

  async ready(): Promise<void> {
    for (const deadline = performance.now() + readyMs; !listens(this.pid); await sleep(20)) {
      if (this.#ended === undefined && performance.now() < deadline) continue;
      await this.stop();
      throw new Error(
        `Cannot let ${this.#label} manage paths: it ${this.#ended === undefined ? "does not listen to events" : `ended, ${this.#ended}`}; ${this.#said.trim()}`,
      );
    }
  }

  async stop(): Promise<void> {
    this.#forget();
    const { pid, exitCode, signalCode } = this.#child;
    if (pid === undefined || exitCode !== null || signalCode !== null) return;
    const exit = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exit;
  }
}

const genericNetlink = 16;

/** Whether anybody in the namespace of a process is in a group of generic netlink: hosts of labs have no other listeners. */
function listens(pid: number): boolean {
  try {
    // Address, protocol, port, groups.
    const rows = readFileSync(`/proc/${pid}/net/netlink`, "utf8").split("\n").slice(1);
    return rows.some((row) => {
      const [, protocol, , groups] = row.trim().split(/\s+/);
      return Number(protocol) === genericNetlink && parseInt(groups, 16) !== 0;
    });
  } catch {
    return false;
  }
}
