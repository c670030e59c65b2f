import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { TcpInfo } from "../../linux/index.ts";
import { FakeKernel, local, remote } from "../testing/fakes.ts";
import { streaming } from "./streaming.ts";

const blockBytes = 65_536;
const second = { local: { address: "10.0.2.1", port: 41_000 }, remote, localId: 1, remoteId: 0, backup: false };
const idle = { unacked: 0, notsentBytes: 0, backoff: 0, rttUs: 20_000, rtoUs: 220_000 };

beforeEach(() =>
  vi.useFakeTimers({ toFake: ["setTimeout", "setInterval", "clearTimeout", "clearInterval", "performance"] }),
);
afterEach(() => vi.useRealTimers());

/** A connection that has written a block `afterMs` ago, of which the peer has acknowledged so much all along. */
function sender() {
  const kernel = new FakeKernel(streaming());
  const [start, end] = [1000n, 1000n + BigInt(blockBytes)];
  const set = (ackedBytes: number) => {
    const sndUna = start + BigInt(ackedBytes);
    kernel.counters = { writeSeq: end, sndUna, unackedBytes: Number(end - sndUna) };
  };
  const subflow = (address: string, more: Partial<TcpInfo>) =>
    kernel.subflowStates.set(address, { tcp: { ...idle, ...more } });
  kernel.counters = { writeSeq: start, sndUna: start, unackedBytes: 0 };
  subflow(local.address, {});
  return { kernel, set, subflow };
}

/** Acknowledges more and more. */
async function goOn({ set }: ReturnType<typeof sender>, fromBytes: number, toBytes: number, ms: number): Promise<void> {
  for (let at = 0; at <= ms; at += 50) {
    set(Math.round(fromBytes + ((toBytes - fromBytes) * at) / ms));
    await vi.advanceTimersByTimeAsync(50);
  }
}

const closed = ({ commands }: FakeKernel) =>
  commands.filter(({ command }) => command === "destroySubflow").map(({ options }) => options["local"]);

describe("streaming()", () => {
  test("asks for nothing while half of a block is there half-way", async () => {
    const one = sender();
    one.kernel.establish();
    await vi.advanceTimersByTimeAsync(100);
    one.subflow(local.address, { unacked: 9 });
    await goOn(one, 0, 60_000, 800);
    expect(one.kernel.asked).toEqual([]);
  });

  test("asks for a subflow when less is there, and closes none that gets on", async () => {
    const one = sender();
    one.kernel.establish();
    await vi.advanceTimersByTimeAsync(100);
    one.subflow(local.address, { unacked: 9 });
    await goOn(one, 0, 20_000, 800);
    expect(one.kernel.asked).toEqual([second.local.address]);
    one.subflow(second.local.address, {});
    one.kernel.tell("subflow_established", second);
    await goOn(one, 20_000, 40_000, 300);
    expect(closed(one.kernel)).toEqual([]);
  });

  test("closes the subflow whose retransmissions are in vain as soon as there is another one", async () => {
    const one = sender();
    one.kernel.establish();
    await vi.advanceTimersByTimeAsync(100);
    one.subflow(local.address, { unacked: 1, backoff: 1, rtoUs: 440_000 });
    await goOn(one, 50_000, 60_000, 600);
    expect(one.kernel.asked).toEqual([second.local.address]);
    expect(closed(one.kernel)).toEqual([]);
    one.subflow(second.local.address, {});
    one.kernel.tell("subflow_established", second);
    await vi.advanceTimersByTimeAsync(50);
    expect(closed(one.kernel)).toEqual([local]);
  });

  test("closes a subflow that brings nothing over for two round trips", async () => {
    const one = sender();
    one.kernel.establish();
    one.kernel.tell("subflow_established", second);
    one.subflow(second.local.address, { unacked: 1 });
    await vi.advanceTimersByTimeAsync(100);
    one.subflow(local.address, { unacked: 4, rtoUs: 300_000, rttUs: 100_000 });
    await goOn(one, 0, 40_000, 600);
    expect(closed(one.kernel)).toEqual([]);
    one.subflow(second.local.address, { unacked: 0 });
    one.kernel.tell("subflow_closed", second);
    await goOn(one, 40_000, 40_000, 500);
    expect(closed(one.kernel)).toEqual([]);
    one.subflow(second.local.address, {});
    one.kernel.tell("subflow_established", second);
    await goOn(one, 40_000, 40_000, 50);
    expect(closed(one.kernel)).toEqual([local]);
  });

  test("closes a busy subflow when the one beside it has nothing to do, and never the last one", async () => {
    const one = sender();
    one.kernel.establish();
    one.kernel.tell("subflow_established", second);
    one.subflow(second.local.address, {});
    await vi.advanceTimersByTimeAsync(100);
    one.subflow(local.address, { unacked: 4 });
    await goOn(one, 30_000, 60_000, 400);
    expect(closed(one.kernel)).toEqual([]);
    await goOn(one, 60_000, 62_000, 200);
    expect(closed(one.kernel)).toEqual([local]);
    one.subflow(second.local.address, { unacked: 4, backoff: 3 });
    await goOn(one, 62_000, 62_000, 1000);
    expect(closed(one.kernel)).toEqual([local]);
  });
});
