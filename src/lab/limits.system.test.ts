import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { ActorChain, PolicyChain, SelectorChain } from "../chain/index.ts";
import { capturePackets } from "../linux/index.ts";
import { parsePacket } from "../wire/index.ts";
import { attachChain } from "./experiments/experiment.ts";
import { createLab, samplePaths, startTransfer, type Lab, type LabSpec, type Transfer } from "./index.ts";

// Limits in the middle of the network, and by a fixed window: what was asked for is what the traffic shows.

/** A client with two links to a router, behind which the server is. */
const routed = (ecn: number): LabSpec => {
  const sysctls = { "net.ipv4.tcp_ecn": ecn };
  return {
    hosts: {
      client: { endpoints: "subflow", routes: { "10.0.3.0/24": ["one", "two"] }, sysctls },
      router: { forwards: true },
      server: { routes: { "10.0.1.0/24": "lan", "10.0.2.0/24": "lan" }, sysctls },
    },
    links: [
      { name: "one", between: ["client", "router"], rateMbit: 20, rttMs: 30 },
      { name: "two", between: ["client", "router"], rateMbit: 20, rttMs: 30 },
      { name: "lan", between: ["router", "server"], rateMbit: 100, rttMs: 2 },
    ],
  };
};
const rttMs = 32;

async function sample(lab: Lab): Promise<[number, number]> {
  return await new Promise((resolve) => {
    const stop = samplePaths(lab, 1500, ({ mbit }) => {
      stop();
      resolve([mbit["one"].backward, mbit["two"].backward]);
    });
  });
}

/** Waits until the client is sent what is asked, in Mbit/s over its two links. */
async function arrives(lab: Lab, isSo: (one: number, two: number) => boolean): Promise<void> {
  await vi.waitFor(
    async () => {
      const [one, two] = await sample(lab);
      expect(isSo(one, two), `${one.toFixed(1)} and ${two.toFixed(1)} Mbit/s`).toBe(true);
    },
    { timeout: 20_000 },
  );
}

let transfer: Transfer | undefined;
// One that failed must not take from the next one's rate.
afterEach(() => transfer?.abort());

async function startDownload(lab: Lab): Promise<Transfer> {
  const started = await startTransfer(lab, { address: lab.host("server").interfaces[0].ipv4 });
  transfer = started;
  await vi.waitFor(() => expect(started.info().subflows).toHaveLength(2), { timeout: 5000 });
  return started;
}

describe.each([
  ["drops what senders without ECN send", 0],
  ["marks what senders with ECN send", 1],
])("a policer on a router %s", (_, ecn) => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await createLab(routed(ecn));
  });
  afterAll(async () => {
    await lab?.close();
  });

  test("and holds one subflow to the rate, the other path untouched, every byte delivered", async () => {
    const download = await startDownload(lab);
    const remote = lab.host("client").interfaces[0].ipv4;
    const subflow = download.info().subflows.find((one) => one.remote.address === remote)!;
    const selectors = new SelectorChain().select("subflow", {
      local: subflow.local.address,
      remote,
      localPort: subflow.local.port,
      remotePort: subflow.remote.port,
    });
    const actors = new ActorChain().add("rate_limit", { rate: "5mbit" });
    const { running, detach } = attachChain(lab, "router", "police", new PolicyChain(selectors, actors), ["one"]);
    expect(running.description.actors).toMatchObject([{ name: "police", note: expect.stringMatching(/no interface/) }]);
    const marked = [0, 0, 0, 0];
    const stopCapture = capturePackets({ interface: "one", netns: lab.host("client").netns }, (packet) => {
      if (packet.direction === "ingress") marked[parsePacket(packet.bytes).ip!.trafficClass & 3]++;
    });
    try {
      await arrives(lab, (one, two) => one > 3.5 && one < 5.4 && two > 13.5);
    } finally {
      stopCapture();
      detach();
    }
    if (ecn) expect(marked[3]).toBeGreaterThan(10);
    else expect(marked.slice(1)).toEqual([0, 0, 0]);
    expect(await download.stop()).toMatchObject({ ok: true });
  });

  test("and rate_limit by window gives a window for each round trip, to the connection as a whole", async () => {
    const window = 60_000;
    const actors = new ActorChain().add("rate_limit", { window });
    const { running, detach } = attachChain(lab, "server", "window", new PolicyChain(new SelectorChain(), actors), [
      "lan",
    ]);
    try {
      const download = await startDownload(lab);
      const expected = (8 * window) / rttMs / 1000;
      // Headers are no part of the window.
      await arrives(lab, (one, two) => one + two > 0.75 * expected && one + two < 1.15 * expected);
      expect(running.description.actors[0].name).toBe("cap_window");
      expect(await download.stop()).toMatchObject({ ok: true });
    } finally {
      detach();
    }
  });
});
