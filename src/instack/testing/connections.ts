/** A network namespace with connections in it, for tests of what happens to them. */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import type { AddressInfo, Server, Socket } from "node:net";
import {
  connectMptcp,
  createNetns,
  dumpTcpSockets,
  listenMptcp,
  withNetns,
  type TcpSocket,
} from "../../linux/index.ts";

/** Makes a namespace whose loopback is up. */
export function makeNetns(name: string): void {
  createNetns(name);
  const { status, stderr } = withNetns(name, () => spawnSync("ip", ["link", "set", "lo", "up"], { encoding: "utf8" }));
  if (status !== 0) throw new Error(`ip link set lo up: ${stderr}`);
}

/** MPTCP connections within a namespace. */
export class Connections {
  readonly #netns: string;
  readonly #listener: Server;
  readonly #pairs: [client: Socket, server: Socket][] = [];

  private constructor(netns: string, listener: Server) {
    this.#netns = netns;
    this.#listener = listener;
  }

  static async open(netns: string, count: number): Promise<Connections> {
    const connections = new Connections(netns, await listenMptcp({ address: "127.0.0.1", port: 0, netns }));
    await connections.add(count);
    return connections;
  }

  /** That connections are made to. */
  get port(): number {
    return (this.#listener.address() as AddressInfo).port;
  }

  async add(count: number): Promise<void> {
    const { port } = this;
    for (let i = 0; i < count; i++) {
      const accepted = once(this.#listener, "connection") as Promise<[Socket]>;
      const client = await connectMptcp({ address: "127.0.0.1", port, netns: this.#netns });
      this.#pairs.push([client, (await accepted)[0]]);
    }
  }

  /** Sends `bytes` over each of them; resolves when all have arrived. */
  async send(bytes: number): Promise<void> {
    const data = Buffer.alloc(bytes, "x");
    await Promise.all(
      this.#pairs.map(async ([client, server]) => {
        let missing = bytes;
        const all = new Promise<void>((resolve, reject) => {
          const got = (chunk: Buffer) => {
            missing -= chunk.length;
            if (missing > 0) return;
            server.off("data", got);
            resolve();
          };
          server.on("data", got);
          server.once("close", () => reject(new Error(`the connection closed ${missing} bytes too early`)));
        });
        client.write(data);
        await all;
      }),
    );
  }

  /** Their sockets, those of both ends; earlier ones of the namespace may not be gone yet. */
  #sockets(): TcpSocket[] {
    return dumpTcpSockets(this.#netns).filter(
      ({ state, local, remote }) => state === "established" && [local.port, remote.port].includes(this.port),
    );
  }

  /** How many of their sockets use which congestion control. */
  congestionControls(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { congestionControl = "" } of this.#sockets())
      counts[congestionControl] = (counts[congestionControl] ?? 0) + 1;
    return counts;
  }

  /** Of both ends of the connections. */
  tokens(): number[] {
    return this.#sockets().flatMap(({ mptcp }) => (mptcp ? [mptcp.tokenLocal] : []));
  }

  close(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
    this.#listener.close();
  }
}
