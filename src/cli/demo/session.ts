/** What the stages of the demo share: the lab, the transfer that runs, the chains they attached. */
import { writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { PolicyChain, RunningChain } from "../../chain/index.ts";
import { registerInStack, type RunningInStack } from "../../instack/index.ts";
import { startTransfer, type Lab, type Transfer } from "../../lab/index.ts";
import { runControllers, type Controller, type ControllerRun } from "../../paths/index.ts";
import { emptcp } from "../../policies/stack/index.ts";
import { watchGoodput, type Goodput } from "./paths.ts";

const pollSeconds = 0.1;

export class Session {
  readonly lab: Lab;
  readonly #onSample: (now: Goodput) => void;
  readonly #chains = new Set<RunningChain>();
  #inStack: RunningInStack | undefined;
  #controllers: ControllerRun | undefined;
  #transfer: Transfer | undefined;

  constructor(lab: Lab, onSample: (now: Goodput) => void) {
    this.lab = lab;
    this.#onSample = onSample;
  }

  /** The transfer that runs now. */
  get transfer(): Transfer {
    if (!this.#transfer) throw new Error("Cannot watch a transfer: none was started");
    return this.#transfer;
  }

  /** The server starts to send to the client, over a new connection. */
  async connect(): Promise<Transfer> {
    this.#transfer = await startTransfer(this.lab);
    return this.#transfer;
  }

  /** Attaches a chain to interfaces of a host; its name tells the run. */
  submit(chain: PolicyChain, host: "client" | "server", title: string): RunningChain {
    const { netns, interfaces } = this.lab.host(host);
    const name = `demo-${this.lab.runId}-${title}`;
    const running = chain.with({ name, netns, interfaces: interfaces.map(({ link }) => link) }).submit();
    this.#chains.add(running);
    return running;
  }

  /** The congestion control that follows strategies, registered for this run; its name. */
  registerInStack(): string {
    this.#inStack ??= registerInStack(emptcp, { name: `demo_${process.pid}`, stays: false });
    return this.#inStack.name;
  }

  /** From now on a controller decides which subflows a host's new connections have. */
  async control(host: "client" | "server", controller: Controller): Promise<void> {
    this.lab.inHost(host, () => writeFileSync("/proc/sys/net/mptcp/path_manager", "userspace"));
    this.#controllers = await runControllers([controller], { netns: this.lab.host(host).netns });
  }

  remove(chain: RunningChain): void {
    if (this.#chains.delete(chain)) chain.remove();
  }

  /** Takes off what is still there; synchronous, so that it can be done when the process ends. */
  removeAll(): void {
    for (const chain of this.#chains) this.remove(chain);
    this.#inStack?.remove();
    this.#inStack = undefined;
    this.#controllers?.close();
  }

  async watch(seconds: number): Promise<Goodput> {
    return await watchGoodput(this.lab, this.transfer, 1000 * seconds, this.#onSample);
  }

  /** What the connection has brought when it gets as many subflows; or `mostBytes`, if it does not before. */
  async bytesUntilSubflows(wanted: number, mostBytes: number): Promise<number> {
    let bytes = 0;
    while (bytes < mostBytes && this.transfer.info().subflows.length < wanted) {
      bytes = this.transfer.receivedBytes;
      await this.watch(pollSeconds);
    }
    return bytes;
  }

  /** Waits until the connection has as many subflows; says how many there are after `seconds` at the latest. */
  async subflowsWithin(seconds: number, wanted: number): Promise<number> {
    for (const deadline = performance.now() + 1000 * seconds; ;) {
      const count = this.transfer.info().subflows.length;
      if (count === wanted || performance.now() > deadline) return count;
      await sleep(1000 * pollSeconds);
    }
  }
}
