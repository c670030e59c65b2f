import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { ActorChain, PolicyChain, SelectorChain, type RunningChain } from "../chain/index.ts";
import { createLab, readMptcpCounters, samplePaths, startTransfer, type Lab, type Transfer } from "./index.ts";

// What was asked of a chain is what the traffic shows, over IPv4 and IPv6, on tc and XDP; and every byte arrives.

let lab: Lab;
const chains: RunningChain[] = [];
const links = ["wifi", "lte"];

beforeAll(async () => {
  lab = await createLab({
    hosts: { client: { family: 6 }, server: { endpoints: "signal", family: 6 } },
    links: [
      { name: "wifi", between: ["client", "server"], rateMbit: 40, rttMs: 20 },
      { name: "lte", between: ["client", "server"], rateMbit: 20, rttMs: 50 },
    ],
  });
});
afterEach(() => {
  for (const chain of chains.splice(0)) chain.remove();
});
afterAll(async () => {
  await lab.close();
});

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function submit(
  host: string,
  title: string,
  actors: ActorChain,
  selectors = new SelectorChain(),
  xdp = false,
): RunningChain {
  const name = `traffic-${process.pid}-${title}`;
  const options = { name, interfaces: links, netns: lab.host(host).netns, ...(xdp && { hook: "xdp" as const }) };
  const chain = new PolicyChain(selectors, actors, options).submit();
  chains.push(chain);
  return chain;
}

async function mbitPerPath(): Promise<{ wifi: number; lte: number }> {
  return await new Promise((resolve) => {
    const stop = samplePaths(lab, 1500, ({ mbit }) => {
      stop();
      resolve({ wifi: mbit["wifi"].backward, lte: mbit["lte"].backward });
    });
  });
}

/** Waits until the paths carry what is asked, in Mbit/s. */
async function carry(isSo: (paths: { wifi: number; lte: number }) => boolean): Promise<void> {
  await vi.waitFor(
    async () => {
      const seen = await mbitPerPath();
      expect(isSo(seen), JSON.stringify(seen)).toBe(true);
    },
    { timeout: 20_000 },
  );
}

async function finish(transfer: Transfer): Promise<void> {
  const result = await transfer.stop();
  expect(result.receivedBytes).toBe(result.sentBytes);
  expect(result.receivedHash).toBe(result.sentHash);
}

test("rate_limit on one IPv6 subflow holds it, leaves the other alone, and lets go", async () => {
  const transfer = await startTransfer(lab, { family: 6 });
  await vi.waitFor(() => expect(transfer.info().subflows).toHaveLength(2), { timeout: 5000 });
  const wifi = lab.host("server").interfaces[0].ipv6;
  const subflow = transfer.info().subflows.find(({ local }) => local.address === wifi);
  expect(subflow, "a subflow over wifi").toBeDefined();
  const { local, remote } = subflow!;
  const selectors = new SelectorChain().select("subflow", {
    local: local.address,
    remote: remote.address,
    localPort: local.port,
    remotePort: remote.port,
  });
  const chain = submit("server", "pace", new ActorChain().add("rate_limit", { rate: "5mbit" }), selectors);
  expect(chain.description.actors.map(({ name }) => name)).toEqual(["pace"]);
  await carry(({ wifi: limited, lte }) => limited > 4 && limited < 7 && lte > 14);
  chain.remove();
  chains.splice(0);
  await carry(({ wifi: free }) => free > 20);
  await finish(transfer);
});

test.each([
  ["tc", false],
  ["XDP", true],
])("blk_subflow on %s keeps IPv6 announcements from the host, and the connection stays MPTCP", async (title, xdp) => {
  const before = readMptcpCounters(lab, "client");
  const chain = submit("client", `block-${title}`, new ActorChain().add("blk_subflow").add("record"), undefined, xdp);
  const transfer = await startTransfer(lab, { family: 6 });
  await vi.waitFor(() => expect(chain.counters().actors[0].acted).toBeGreaterThan(0), { timeout: 10_000 });
  await sleep(1000);
  expect(transfer.info().subflows).toHaveLength(1);
  expect(transfer.info().fallback).toBe(false);
  expect(transfer.receiverInfo().fallback).toBe(false);
  await finish(transfer);
  expect(readMptcpCounters(lab, "client")["AddAddr"]).toBe(before["AddAddr"]);
  const [, recording] = chain.counters().actors;
  expect(recording.acted).toBe(recording.seen);
});

test("record counts what both ends sent, and measures the paths' round trips", async () => {
  const chain = submit("server", "record", new ActorChain().add("record"));
  const transfer = await startTransfer(lab, { family: 6, seconds: 3 });
  await sleep(2000);
  const { subflows } = transfer.info();
  expect(subflows).toHaveLength(2);
  const flows = chain.flows("record");
  await finish(transfer);
  for (const { local, remote } of subflows) {
    const flow = flows.find(({ localPort, remotePort }) => localPort === local.port && remotePort === remote.port);
    expect(flow, `${local.address} to ${remote.address}`).toBeDefined();
    const fastest = local.address === lab.host("server").interfaces[0].ipv6 ? 20_000 : 50_000;
    expect(flow!.fields["rttUs"]).toBeGreaterThan(0.95 * fastest);
    expect(flow!.fields["bytesOut"]).toBeGreaterThan(100_000);
    expect(flow!.fields["bytesIn"]).toBeGreaterThan(1000);
  }
});

test("rate_limit on a plain TCP connection and on an MPTCP one holds each to the rate", async () => {
  submit("server", "rate", new ActorChain().add("rate_limit", { rate: "8mbit" }));
  for (const protocol of ["mptcp", "tcp"] as const) {
    const transfer = await startTransfer(lab, { family: 6, ...(protocol === "tcp" && { protocol }) });
    await carry(({ wifi, lte }) => wifi + lte > 6 && wifi + lte < 10.5);
    await finish(transfer);
  }
});
