/** A path manager is killed while connections live, and started again: what it knows of those that began meanwhile. */
import type net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Lab } from "../lab/index.ts";
import { readMptcpCounters } from "../lab/measure/counters.ts";
import { startPathManager, type PathManagerChoice } from "../lab/measure/join-delay.ts";
import { ConnectionReader } from "../linux/connections.ts";
import { connectMptcp, listenMptcp } from "../linux/sockets.ts";

const count = 100;
const pollMs = 10;
const patienceMs = 10_000;
/** What is done about connections found at the start is done by then. */
const settleMs = 2000;

export interface Recovery {
  /** Connections that began while it was dead. */
  readonly begun: number;
  /** Of those that got their second subflow after the restart. */
  readonly joined: number;
  /** Connections from before its death that still have exactly two subflows, of as many. */
  readonly kept: number;
  /** From the start of the new process to the first second subflow that it opened, of whatever connection. */
  readonly atWorkMs: number;
}

export async function measureRecovery(lab: Lab, choice: PathManagerChoice): Promise<Recovery> {
  const { netns } = lab.host("client");
  using connections = await Connections.listen(lab);
  using reader = new ConnectionReader({ netns });
  /** How many of them have two subflows. */
  const joined = (ports: ReadonlySet<number>): number =>
    reader.all().filter(({ local, subflows }) => ports.has(local.port) && subflows.length === 2).length;

  const first = await startPathManager(lab, "client", choice);
  const before = await connections.open(count);
  await until(() => joined(before) === count);
  process.kill(first.pid!, "SIGKILL");
  await until(() => isGone(first.check));
  const meanwhile = await connections.open(count);

  const joins = () => readMptcpCounters(lab, "server")["MPJoinSynRx"];
  const [joinsBefore, start] = [joins(), performance.now()];
  const starting = startPathManager(lab, "client", choice);
  // Awaited below; should it fail meanwhile, that is told there.
  starting.catch(() => {});
  await until(async () => {
    await connections.open(1);
    return joins() !== joinsBefore;
  });
  const atWorkMs = performance.now() - start;
  const second = await starting;
  try {
    await sleep(settleMs);
    return { begun: count, joined: joined(meanwhile), kept: joined(before), atWorkMs };
  } finally {
    await second.stop();
  }
}

/** Connections from the client to the server, all held open. */
class Connections implements Disposable {
  readonly #lab: Lab;
  readonly #listener: net.Server;
  readonly #sockets: net.Socket[] = [];

  private constructor(lab: Lab, listener: net.Server) {
    this.#lab = lab;
    this.#listener = listener;
    listener.on("connection", (socket) => this.#keep(socket));
  }

  static async listen(lab: Lab): Promise<Connections> {
    return new Connections(lab, await listenMptcp({ address: "0.0.0.0", port: 0, netns: lab.host("server").netns }));
  }

  #keep(socket: net.Socket): void {
    socket.on("error", () => {});
    socket.resume();
    this.#sockets.push(socket);
  }

  /** @returns their ports at the client */
  async open(wanted: number): Promise<Set<number>> {
    const { port } = this.#listener.address() as net.AddressInfo;
    const [{ ipv4: address }] = this.#lab.host("server").interfaces;
    const ports = new Set<number>();
    for (let i = 0; i < wanted; i++) {
      const socket = await connectMptcp({ address, port, netns: this.#lab.host("client").netns });
      this.#keep(socket);
      // Subflows may join once the server has acknowledged data.
      socket.write("hello");
      ports.add(socket.localPort!);
    }
    return ports;
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#listener.close();
  }
}

/** Or until there is nothing to be hoped for: what did not happen is then seen in the numbers. */
async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = performance.now() + patienceMs; !(await holds()); await sleep(pollMs))
    if (performance.now() > deadline) return;
}

function isGone(check: () => void): boolean {
  try {
    check();
    return false;
  } catch {
    return true;
  }
}
