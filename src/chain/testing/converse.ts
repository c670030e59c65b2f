/** A short conversation for chains to see. */
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { expect, vi } from "vitest";
import { connectMptcp, dumpTcpSockets, listenMptcp, type NetworkNamespace } from "../../linux/index.ts";

/** Sends `bytes` over a connection inside a namespace; resolves when its last packet has passed. */
export async function converse(netns: NetworkNamespace, bytes: number): Promise<void> {
  const listener = await listenMptcp({ address: "127.0.0.1", port: 0, netns });
  const { port } = listener.address() as AddressInfo;
  try {
    listener.on("connection", (socket) => socket.end(Buffer.alloc(bytes, "x")));
    const client = await connectMptcp({ address: "127.0.0.1", port, netns });
    expect(await text(client)).toHaveLength(bytes);
  } finally {
    listener.close();
  }
  const open = () =>
    dumpTcpSockets(netns).filter(
      ({ state, local, remote }) => state !== "time-wait" && [local.port, remote.port].includes(port),
    );
  await vi.waitFor(() => expect(open()).toEqual([]), { timeout: 10_000, interval: 10 });
}
