import { readdirSync, readlinkSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { deleteNetns, setDefaultCongestionControl } from "../linux/index.ts";
import { emptcp, listInStack, MetricsReader, registerInStack } from "./index.ts";
import { Connections, makeNetns } from "./testing/connections.ts";

const netns = `emptcp-metrics-${process.pid}`;
const name = `emm_${process.pid}`;
const reads = 100_000;
let open: Connections | undefined;

beforeAll(() => makeNetns(netns));
afterEach(() => {
  open?.close();
  open = undefined;
  setDefaultCongestionControl("reno", netns);
  for (const running of listInStack()) if (running.name === name) running.remove();
});
afterAll(() => deleteNetns(netns));

async function connected(): Promise<Connections> {
  registerInStack(emptcp, { name });
  setDefaultCongestionControl(name, netns);
  open = await Connections.open(netns, 2);
  await open.send(300_000);
  return open;
}

/** Maps that this process could ask the kernel about. */
const openMaps = () =>
  readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).includes("bpf-map");
    } catch {
      return false;
    }
  });

describe("MetricsReader", () => {
  test("reads what the kernel writes without asking it: no map is open, and what is read changes", async () => {
    const connections = await connected();
    const ours = new Set(connections.tokens());
    const openBefore = openMaps();
    using reader = new MetricsReader();
    const mine = reader.read().filter(({ token, bytesAcked }) => ours.has(token) && bytesAcked > 0);
    expect(mine).toHaveLength(2);
    expect(openMaps()).toEqual(openBefore);
    const [{ token, id }] = mine;
    const sent = connections.send(3_000_000);
    const acknowledged = new Set<number>();
    for (let i = 0; i < reads; i++) {
      acknowledged.add(reader.subflow(token, id)!.bytesAcked);
      // Whoever sends and receives is this process, too.
      if (i % 100 === 0) await new Promise(setImmediate);
    }
    await sent;
    expect(acknowledged.size).toBeGreaterThan(1);
    expect(Math.max(...acknowledged)).toBeGreaterThan(mine[0].bytesAcked);
  });

  test("subflow() agrees with read(), and knows nothing of a subflow that is gone", async () => {
    const connections = await connected();
    using reader = new MetricsReader();
    const all = connections.tokens().flatMap((token) => reader.read(token));
    // Of the ends that send.
    expect(all).toHaveLength(2);
    for (const metrics of all) {
      // What else there is may have changed since.
      const { token, id, local, remote } = metrics;
      expect(reader.subflow(token, id)).toMatchObject({ token, id, local, remote });
      expect(reader.subflow(metrics.token, metrics.id + 1)).toBeUndefined();
    }
    connections.close();
    open = undefined;
    await expect.poll(() => all.filter(({ token, id }) => reader.subflow(token, id)), { timeout: 10_000 }).toEqual([]);
  });
});
