/** Two namespaces with two links between them, and MPTCP connections over the first, for tests of path management. */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import type { AddressInfo, Server, Socket } from "node:net";
import { createNetns, deleteNetns, withNetns } from "../netns.ts";
import { PathManager } from "../path-manager.ts";
import { connectMptcp, listenMptcp } from "../sockets.ts";

export type Side = "client" | "server";

/** Addresses by link, the same in every pair: namespaces keep them apart. */
export const addresses = {
  client: ["10.9.0.1", "10.9.1.1"],
  server: ["10.9.0.2", "10.9.1.2"],
} as const;
export const addresses6 = {
  client: ["fd09::1", "fd09:1::1"],
  server: ["fd09::2", "fd09:1::2"],
} as const;

export function run(command: string, ...args: string[]): void {
  const { status, stderr, error } = spawnSync(command, args, { encoding: "utf8" });
  if (error) throw error;
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr}`);
}

export interface HostPairOptions {
  /** Part of the namespaces' names. */
  readonly name: string;
  /** Who manages paths on each side. */
  readonly client?: "kernel" | "userspace";
  readonly server?: "kernel" | "userspace";
  /** That the server listens at; `::` takes IPv4, too. */
  readonly listen?: "0.0.0.0" | "::";
}

export class HostPair {
  readonly client: string;
  readonly server: string;
  readonly #listener: Server;
  readonly #sockets: Socket[] = [];

  private constructor({ name }: HostPairOptions, listener: Server) {
    this.client = `${name}-client`;
    this.server = `${name}-server`;
    this.#listener = listener;
  }

  static async open(options: HostPairOptions): Promise<HostPair> {
    const { name } = options;
    const sides = [`${name}-client`, `${name}-server`] as const;
    try {
      for (const netns of sides) {
        createNetns(netns);
        run("ip", "-n", netns, "link", "set", "lo", "up");
      }
      for (const [i, link] of ["one", "two"].entries()) {
        run("ip", "-n", sides[0], "link", "add", link, "type", "veth", "peer", "name", link, "netns", sides[1]);
        for (const [side, netns] of [["client", sides[0]] as const, ["server", sides[1]] as const]) {
          run("ip", "-n", netns, "address", "add", `${addresses[side][i]}/24`, "dev", link);
          run("ip", "-n", netns, "address", "add", `${addresses6[side][i]}/64`, "dev", link, "nodad");
          run("ip", "-n", netns, "link", "set", link, "up");
        }
      }
      for (const [netns, who] of [[sides[0], options.client] as const, [sides[1], options.server] as const]) {
        withNetns(netns, () => writeFileSync("/proc/sys/net/mptcp/path_manager", who ?? "kernel"));
        using manager = new PathManager({ netns });
        manager.setLimits({ subflows: 8, acceptedAddresses: 8 });
      }
      return new HostPair(
        options,
        await listenMptcp({ address: options.listen ?? "0.0.0.0", port: 0, netns: sides[1] }),
      );
    } catch (error) {
      for (const netns of sides) deleteNetns(netns);
      throw error;
    }
  }

  /** That connections are made to. */
  get port(): number {
    return (this.#listener.address() as AddressInfo).port;
  }

  /** A connection over the first link, over which each side has sent something. */
  async connect(address: string = addresses.server[0]): Promise<{ client: Socket; server: Socket }> {
    const accepted = once(this.#listener, "connection") as Promise<[Socket]>;
    const client = await connectMptcp({ address, port: this.port, netns: this.client });
    const [server] = await accepted;
    this.#sockets.push(client, server);
    for (const socket of [client, server]) socket.on("error", () => undefined);
    const heard = Promise.all([once(client, "data"), once(server, "data")]);
    client.write("ping");
    server.write("pong");
    await heard;
    return { client, server };
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#listener.close();
    deleteNetns(this.client);
    deleteNetns(this.server);
  }
}
