/** A short conversation for chains to see. */
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { expect } from "vitest";
import { connectMptcp, listenMptcp, type NetworkNamespace } from "../../linux/index.ts";

/** Sends `bytes` over a connection inside a namespace. */
export async function converse(netns: NetworkNamespace, bytes: number): Promise<void> {
  const listener = await listenMptcp({ address: "127.0.0.1", port: 0, netns });
  try {
    listener.on("connection", (socket) => socket.end(Buffer.alloc(bytes, "x")));
    const client = await connectMptcp({ address: "127.0.0.1", port: (listener.address() as AddressInfo).port, netns });
    expect(await text(client)).toHaveLength(bytes);
  } finally {
    listener.close();
  }
}
