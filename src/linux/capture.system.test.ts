import { spawnSync } from "node:child_process";
import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { parsePacket, TcpFlag } from "../wire/index.ts";
import { capturePackets, type SeenPacket } from "./capture.ts";
import { createNetns, deleteNetns, withNetns } from "./netns.ts";
import { connectMptcp, listenMptcp } from "./sockets.ts";

const name = `emptcp-capture-${process.pid}`;

beforeEach(() => {
  createNetns(name);
  withNetns(name, () => spawnSync("ip", ["link", "set", "lo", "up"]));
});
afterEach(() => deleteNetns(name));

test("capturePackets() hands over what leaves and what arrives, in order, with its time, until it is told to stop", async () => {
  const packets: SeenPacket[] = [];
  const startedMs = Date.now();
  const stop = capturePackets({ interface: "lo", netns: name }, (packet) => packets.push(packet));
  const server = await listenMptcp({ address: "127.0.0.1", port: 0, netns: name });
  const accepted = once(server, "connection") as Promise<[Socket]>;
  const { port } = server.address() as AddressInfo;
  const client = await connectMptcp({ address: "127.0.0.1", port, netns: name });
  const [peer] = await accepted;
  const syns = () =>
    packets.filter(({ bytes }) => {
      const { tcp } = parsePacket(bytes);
      return tcp?.destinationPort === port && (tcp.flags & TcpFlag.syn) !== 0;
    });
  await vi.waitFor(() => {
    expect(syns().map(({ direction }) => direction)).toEqual(["egress", "ingress"]);
  });
  for (const { timestampNs, link, bytes, originalLength } of syns()) {
    expect(Math.abs(Number(timestampNs / 1_000_000n) - startedMs)).toBeLessThan(60_000);
    expect({ link, originalLength }).toEqual({ link: "ethernet", originalLength: bytes.length });
  }
  const times = packets.map(({ timestampNs }) => timestampNs);
  expect(times).toEqual(times.toSorted((a, b) => Number(a - b)));

  stop();
  const { length } = packets;
  client.destroy();
  peer.destroy();
  server.close();
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(packets).toHaveLength(length);
});

test("capturePackets() refuses an interface that is not in the namespace", () => {
  expect(() => capturePackets({ interface: "eth77", netns: name }, () => undefined)).toThrow(/no interface eth77.*lo/);
});
