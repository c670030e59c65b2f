/** The delay process as its owner sees it. */
import { spawn, type ChildProcess } from "node:child_process";
import type { Socket } from "node:net";
import { withNetns, type NetworkNamespace } from "../../linux/netns.ts";
import { runnableModule } from "../runnable.ts";
import type { Configuration } from "./main.ts";

const readyTimeoutMs = 10_000;

export class DelayProcess {
  readonly #child: ChildProcess;
  readonly #waiting: { resolve(): void; reject(error: Error): void }[] = [];
  #failure: Error | undefined;
  #closing = false;
  #stderr = "";

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stdout!.on("data", (data: Buffer) => {
      for (const _ of data.toString().matchAll(/ready\n/g)) this.#waiting.shift()?.resolve();
    });
    child.stderr!.on("data", (data: Buffer) => (this.#stderr = (this.#stderr + data.toString()).slice(-4000)));
    child.stdin!.on("error", () => {});
    child.on("exit", (code, signal) => {
      const reason = this.#stderr.trim() || `exit code ${code}, signal ${signal}`;
      this.#failure = new Error(`The lab's delay process ended, its links carry nothing any more: ${reason}`);
      for (const waiting of this.#waiting.splice(0)) waiting.reject(this.#failure);
    });
    // The owner may end while it runs: it ends with its input.
    child.unref();
    for (const stream of [child.stdin, child.stdout, child.stderr]) (stream as unknown as Socket).unref();
  }

  static start(netns: NetworkNamespace): DelayProcess {
    const entry = runnableModule("lab/delay/main.ts");
    const child = withNetns(netns, () =>
      spawn(process.execPath, [entry], { stdio: ["pipe", "pipe", "pipe"], env: {} }),
    );
    return new DelayProcess(child);
  }

  /** Sets what happens to the packets of some queues. @throws Error when the process is not alive. */
  async configure(configuration: Configuration): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("The lab's delay process does not answer")), readyTimeoutMs);
      this.#waiting.push({
        resolve: () => {
          clearTimeout(timer);
          resolve();
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
      this.#child.stdin!.write(`${JSON.stringify(configuration)}\n`);
    });
  }

  /** Why it is not running; undefined while it runs, and after `kill()`. */
  get failure(): Error | undefined {
    return this.#closing ? undefined : this.#failure;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  kill(): void {
    this.#closing = true;
    this.#child.kill("SIGKILL");
  }
}
