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
import { createLab, samplePaths, startTransfer, wifiAndLte, type Lab, type Transfer } from "./index.ts";

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
  return started;
}

interface Carried {
  readonly wifi: number;
  readonly lte: number;
  readonly all: number;
}

async function sample(): Promise<Carried> {
  return await new Promise((resolve) => {
    const stop = samplePaths(lab, 1500, ({ mbit }) => {
      stop();
      const [wifi, lte] = [mbit["wifi"].backward / framing, mbit["lte"].backward / framing];
      resolve({ wifi, lte, all: wifi + lte });
    });
  });
}

/** Waits until the paths carry what is asked, in Mbit/s of payload. */
async function carries(isSo: (carried: Carried) => boolean): Promise<void> {
  await vi.waitFor(
    async () => {
      const seen = await sample();
      expect(isSo(seen), JSON.stringify(seen)).toBe(true);
    },
    { timeout: 20_000 },
  );
}
const near = (seen: number, wanted: number, share: number): boolean => Math.abs(seen / wanted - 1) < share;

const rate = (mbit: number): Strategy => ({ kind: "rate", rateBytesPerSecond: (mbit * 1e6) / 8 });
const weight = (one: number): Strategy => ({ kind: "weight", weight: one });

const stateOf = (state: string) => running.state().find(({ slot }) => slot.name === state)!;

describe("emptcp in the stack", () => {
  test("without a strategy carries what cubic does", async () => {
    for (const control of ["cubic", name]) {
      const download = await startDownload(control);
      await carries(({ all }) => all > 0.8 * 60);
      expect(await download.stop()).toMatchObject({ ok: true });
    }
  });

  test("follows strategies that change while it runs, and delivers every byte", { timeout: 120_000 }, async () => {
    const download = await startDownload(name);
    using strategies = new Strategies();
    const wifi = download.info().subflows.find(({ remote }) => remote.address === addressOf("client", "wifi"))!;
    const lte = download.info().subflows.find(({ remote }) => remote.address === addressOf("client", "lte"))!;
    const tell = async (forWifi: Strategy, forLte: Strategy, isSo: (carried: Carried) => boolean) => {
      strategies.set(wifi, forWifi);
      strategies.set(lte, forLte);
      await carries(isSo);
    };

    await tell(rate(10), rate(5), (paced) => near(paced.wifi, 10, 0.06) && near(paced.lte, 5, 0.06));

    await tell(weight(30), weight(70), (shared) => near(shared.wifi / shared.all, 0.3, 0.15) && shared.lte > 16);

    const windowBytes = 40_000;
    const held = (rttMs: number) => (8 * windowBytes) / 1000 / rttMs;
    await tell(
      { kind: "window", windowBytes },
      { kind: "window", windowBytes },
      (by) => near(by.wifi, 0.9 * held(20), 0.17) && near(by.lte, 0.9 * held(50), 0.17),
    );

    const lia: Strategy = { kind: "coupled", algorithm: "lia" };
    await tell(lia, lia, (coupled) => coupled.wifi > 30);

    await tell({ kind: "none" }, { kind: "none" }, (free) => free.all > 0.8 * 56);
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
      using metrics = new MetricsReader();
      const port = download.info().subflows[0].local.port;
      await vi.waitFor(() => expect(metrics.read().filter(({ local }) => local.port === port)).toHaveLength(2), {
        timeout: 10_000,
      });
      // Without credits two packets per round trip are sent to probe: less than 2 Mbit/s.
      await sleep(2500);
      await carries(({ all }) => all > 30);
    } finally {
      detach();
    }
    expect(await download.stop()).toMatchObject({ ok: true });
  });
});

function addressOf(host: string, link: string): string {
  return lab.host(host).interfaces.find((one) => one.link === link)!.ipv4;
}
