/** What the stages of the demo share: the lab, the transfer that runs, the chains they attached. */
import { setTimeout as sleep } from "node:timers/promises";
import type { PolicyChain, RunningChain } from "../../chain/index.ts";
import { registerInStack, type RunningInStack } from "../../instack/index.ts";
import { startTransfer, type Lab, type Transfer } from "../../lab/index.ts";
import { emptcp } from "../../policies/stack/index.ts";
import { watchGoodput, type Goodput } from "./paths.ts";

export class Session {
  readonly lab: Lab;
  readonly #onSample: (now: Goodput) => void;
  readonly #chains = new Set<RunningChain>();
  #inStack: RunningInStack | undefined;
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

  remove(chain: RunningChain): void {
    if (this.#chains.delete(chain)) chain.remove();
  }

  /** Takes off what is still there; synchronous, so that it can be done when the process ends. */
  removeAll(): void {
    for (const chain of this.#chains) this.remove(chain);
    this.#inStack?.remove();
    this.#inStack = undefined;
  }

  async watch(seconds: number): Promise<Goodput> {
    return await watchGoodput(this.lab, this.transfer, 1000 * seconds, this.#onSample);
  }

  /** Waits until the connection has as many subflows; says how many there are after `seconds` at the latest. */
  async subflowsWithin(seconds: number, wanted: number): Promise<number> {
    for (const deadline = performance.now() + 1000 * seconds; ;) {
      const count = this.transfer.info().subflows.length;
      if (count === wanted || performance.now() > deadline) return count;
      await sleep(50);
    }
  }
}
