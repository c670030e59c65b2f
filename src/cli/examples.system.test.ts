import { spawnSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { listChains, openChain } from "../chain/index.ts";
import { createLab, startTransfer, type Lab } from "../lab/index.ts";
import { capturePackets, withNetns } from "../linux/index.ts";
import { parsePacket, type Packet } from "../wire/index.ts";
import { emptcp } from "./testing/run.ts";

// The files in examples/, applied as they are.

const name = `examples-${process.pid}`;
let lab: Lab;

// Links on which segments are cut up behind the chain, as on most machines.
beforeAll(async () => {
  const sysctls = { "net.ipv4.tcp_timestamps": 0 };
  lab = await createLab({
    hosts: { client: { endpoints: "subflow", sysctls }, server: { sysctls } },
    links: [
      { name: "wifi", between: ["client", "server"], rateMbit: 30, rttMs: 10, largeFrames: true },
      { name: "lte", between: ["client", "server"], rateMbit: 10, rttMs: 30, largeFrames: true },
    ],
  });
});
afterEach(() => {
  if (listChains().some((chain) => chain.name === name)) openChain(name).remove();
});
afterAll(async () => {
  await lab?.close();
});

/** On the server. */
function run(command: string): void {
  const [tool, ...args] = command.split(" ");
  const { status, stderr } = withNetns(lab.host("server").netns, () => spawnSync(tool, args, { encoding: "utf8" }));
  expect({ status, stderr }, command).toEqual({ status: 0, stderr: "" });
}

/** Whether a packet has the option of sent-at.ts. */
function isStamped({ tcp }: Packet): boolean {
  const start = Buffer.of(253, 8, 0x45, 0x4d);
  return tcp!.options.some((option) => option.kind === "unknown" && start.equals(option.bytes.subarray(0, 4)));
}

test("sent-at.ts puts its option into packets with payload, on every path, and every byte arrives", async () => {
  const links = ["wifi", "lte"];
  for (const link of links) {
    run(`ip link set dev ${link} gso_max_segs 1`);
    // So that what arrives has its checksum.
    run(`ethtool -K ${link} tx off`);
  }
  const example = fileURLToPath(new URL("../../examples/sent-at.ts", import.meta.url));
  const { netns } = lab.host("server");
  const place = ["--netns", netns, "--interface", links.join(","), "--name", name];
  const { status, stderr } = emptcp(["chain", "apply", example, ...place]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  const seen: Record<string, boolean[]> = {};
  const largest: Record<string, number> = {};
  let wrong = 0;
  const stops = links.map((link) =>
    capturePackets({ interface: link, netns: lab.host("client").netns }, ({ direction, bytes }) => {
      const packet = parsePacket(bytes);
      if (direction !== "ingress" || !packet.tcp || packet.payload.length === 0) return;
      if (packet.tcp.checksum !== undefined) wrong++;
      (seen[link] ??= []).push(isStamped(packet));
      largest[link] = Math.max(largest[link] ?? 0, bytes.length);
    }),
  );
  try {
    const transfer = await startTransfer(lab);
    await vi.waitFor(() => expect(transfer.info().subflows).toHaveLength(2), { timeout: 5000 });
    await sleep(1500);
    expect(await transfer.stop()).toMatchObject({ ok: true });
    await sleep(100);
    expect(wrong, "wrong checksums").toBe(0);
  } finally {
    for (const stop of stops) stop();
  }
  for (const link of links) {
    expect(seen[link].length, link).toBeGreaterThan(100);
    // What the kernel sends again in larger pieces has to go without.
    expect(seen[link].filter((stamped) => !stamped).length, link).toBeLessThan(seen[link].length / 10);
    // Segments are as large as they can be with the option, and no larger.
    expect(largest[link], link).toBe(1514);
  }
});
