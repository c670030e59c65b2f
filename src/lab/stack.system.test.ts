import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { ActorChain, PolicyChain, SelectorChain } from "../chain/index.ts";
import {
  emptcp,
  MetricsReader,
  registerInStack,
  Strategies,
  type RunningInStack,
  type Strategy,
} from "../instack/index.ts";
import { attachChain } from "./experiments/experiment.ts";
import { createLab, runQuiet, samplePaths, startTransfer, wifiAndLte, type Lab, type Transfer } from "./index.ts";

// Strategies that the stack follows, on real traffic: 40 Mbit/s with 20 ms and 20 Mbit/s with 50 ms, the server sends.

const name = `emlab_${process.pid}`;
/** Bytes on the wire, where samples are taken, for a byte of payload. */
const framing = 1514 / 1428;

let lab: Lab;
let running: RunningInStack;
let transfer: Transfer | undefined;
beforeAll(async () => {
  running = registerInStack(emptcp, { name, base: "cubic", stays: false });
  lab = await createLab(wifiAndLte);
});
afterEach(() => transfer?.abort());
afterAll(async () => {
  await lab?.close();
  running?.remove({ move: true });
});

/** A download whose both subflows run. */
async function startDownload(congestionControl: string): Promise<Transfer> {
  const started = await startTransfer(lab, { congestionControl });
  transfer = started;
  await vi.waitFor(() => expect(started.info().subflows).toHaveLength(2), { timeout: 5000 });
  await sleep(1000);
  return started;
}

/** Mbit/s of payload on both paths. */
async function mbitToClient(forMs = 2000): Promise<{ wifi: number; lte: number; all: number }> {
  const { value } = await runQuiet(
    () =>
      new Promise<{ wifi: number; lte: number; all: number }>((resolve) => {
        const stop = samplePaths(lab, forMs, ({ mbit }) => {
          stop();
          const [wifi, lte] = [mbit["wifi"].backward / framing, mbit["lte"].backward / framing];
          resolve({ wifi, lte, all: wifi + lte });
        });
      }),
  );
  return value;
}

const rate = (mbit: number): Strategy => ({ kind: "rate", rateBytesPerSecond: (mbit * 1e6) / 8 });
const weight = (one: number): Strategy => ({ kind: "weight", weight: one });

const stateOf = (state: string) => running.state().find(({ slot }) => slot.name === state)!;

describe("emptcp in the stack", () => {
  test("without a strategy carries what cubic does", async () => {
    const carried: number[] = [];
    for (const control of ["cubic", name]) {
      const download = await startDownload(control);
      await sleep(1000);
      carried.push((await mbitToClient()).all);
      expect(await download.stop()).toMatchObject({ ok: true });
    }
    expect(carried[1]).toBeGreaterThan(0.93 * carried[0]);
  });

  test("follows strategies that change while it runs, and delivers every byte", { timeout: 120_000 }, async () => {
    const download = await startDownload(name);
    using strategies = new Strategies();
    const wifi = download.info().subflows.find(({ remote }) => remote.address === addressOf("client", "wifi"))!;
    const lte = download.info().subflows.find(({ remote }) => remote.address === addressOf("client", "lte"))!;
    const tell = async (forWifi: Strategy, forLte: Strategy, settleMs = 1500) => {
      strategies.set(wifi, forWifi);
      strategies.set(lte, forLte);
      await sleep(settleMs);
      return await mbitToClient();
    };

    const paced = await tell(rate(10), rate(5));
    expect(paced.wifi / 10).toBeCloseTo(1, 1);
    expect(paced.lte / 5).toBeCloseTo(1, 1);

    const shared = await tell(weight(30), weight(70), 3000);
    expect(shared.wifi / shared.all).toBeGreaterThan(0.26);
    expect(shared.wifi / shared.all).toBeLessThan(0.34);
    expect(shared.lte).toBeGreaterThan(0.85 * 18.8);

    const windowBytes = 40_000;
    const held = await tell({ kind: "window", windowBytes }, { kind: "window", windowBytes });
    expect(held.wifi).toBeLessThan((1.05 * 8 * windowBytes) / 20_000);
    expect(held.wifi).toBeGreaterThan((0.75 * 8 * windowBytes) / 20_000);
    expect(held.lte).toBeLessThan((1.05 * 8 * windowBytes) / 50_000);
    expect(held.lte).toBeGreaterThan((0.75 * 8 * windowBytes) / 50_000);

    const coupled = await tell({ kind: "coupled", algorithm: "lia" }, { kind: "coupled", algorithm: "lia" }, 3500);
    expect(coupled.wifi).toBeGreaterThan(30);

    const free = await tell({ kind: "none" }, { kind: "none" }, 3000);
    expect(free.all).toBeGreaterThan(0.85 * 56);
    const { port } = wifi.local;
    const known = () => ({
      strategies: stateOf("strategies").flows!.filter(({ localPort }) => localPort === port).length,
      slots: stateOf("slots").flows!.filter(({ localPort }) => localPort === port).length,
      connections: stateOf("congestion").table!.length,
    });
    expect(known()).toMatchObject({ strategies: 2, slots: 2 });
    const { connections } = known();
    expect(await download.stop()).toMatchObject({ ok: true });
    download.abort();
    await vi.waitFor(() => expect(known()).toMatchObject({ strategies: 0, slots: 0 }), { timeout: 10_000 });
    expect(known().connections).toBeLessThan(connections);
  });

  test("carries what the base does for a connection under credits that nobody grants", async () => {
    const download = await startDownload("cubic");
    const from = new SelectorChain().select("port", { port: download.info().subflows[0].local.port });
    const actors = new ActorChain().add("stack_credit", { control: name });
    const { detach } = attachChain(lab, "server", "credit", new PolicyChain(from, actors), ["wifi", "lte"]);
    try {
      await sleep(4000);
      using metrics = new MetricsReader();
      const port = download.info().subflows[0].local.port;
      expect(metrics.read().filter(({ local }) => local.port === port)).toHaveLength(2);
      expect((await mbitToClient()).all).toBeGreaterThan(30);
    } finally {
      detach();
    }
    expect(await download.stop()).toMatchObject({ ok: true });
  });
});

function addressOf(host: string, link: string): string {
  return lab.host(host).interfaces.find((one) => one.link === link)!.ipv4;
}
