import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { mptcpInfo } from "../linux/mptcp-info.ts";
import { listNetns } from "../linux/netns.ts";
import { dumpTcpSockets } from "../linux/diag.ts";
import { cleanLab, listLabs } from "./clean.ts";
import { createLab, type Lab } from "./lab.ts";
import { readLinkCounters, readMptcpCounters } from "./measure/counters.ts";
import { ping } from "./measure/ping.ts";
import { namespaceName, parseNamespaceName } from "./run-id.ts";
import { runnableModule } from "./runnable.ts";
import { wifiAndLte, type LabSpec } from "./spec.ts";
import { requestResponse } from "./workload/request-response.ts";
import { bulk, startTransfer } from "./workload/transfer.ts";

const own = (lab: Lab) => listNetns().filter((name) => parseNamespaceName(name)?.runId === lab.runId);

const tuple = (one: { local: { address: string; port: number }; remote: { address: string; port: number } }) =>
  [one.local.address, one.local.port, one.remote.address, one.remote.port].join(" ");

/** A process of its own with a lab; its namespaces and the process ids in the wire. */
async function labElsewhere() {
  const script = runnableModule("lab/testing/hold-lab.ts");
  const child = spawn(process.execPath, [script], { stdio: ["pipe", "pipe", "inherit"] });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const runId = line.toString().trim();
  const names = () => listNetns().filter((name) => parseNamespaceName(name)?.runId === runId);
  return { child, names, delayPid: processesIn(namespaceName(runId, "wire"))[0] };
}

function processesIn(netns: string): number[] {
  return spawnSync("ip", ["netns", "pids", netns], { encoding: "utf8" }).stdout.trim().split("\n").map(Number);
}

async function gone(pid: number): Promise<void> {
  while (existsSync(`/proc/${pid}`)) await sleep(5);
}

describe("createLab()", () => {
  test("leaves nothing behind when closed", async () => {
    const lab = await createLab(wifiAndLte);
    expect(own(lab).sort()).toEqual(["client", "server", "wire"].map((where) => lab.netnsOf(where)));
    await lab.close();
    expect(own(lab)).toEqual([]);
  });

  test("leaves nothing behind when a step fails", async () => {
    const broken: LabSpec = { ...wifiAndLte, hosts: { client: { sysctls: { "net.no.such": 1 } }, server: {} } };
    await expect(createLab(broken)).rejects.toThrow(/net\.no\.such/);
    expect(listNetns().filter((namespace) => namespace.includes(`p${process.pid}t`))).toEqual([]);
  });
});

describe("cleanLab()", () => {
  test("removes what a killed process left, and not what a living one has", async () => {
    const [dead, living] = await Promise.all([labElsewhere(), labElsewhere()]);
    dead.child.kill("SIGKILL");
    await once(dead.child, "exit");
    await gone(dead.delayPid);
    const left = dead.names();
    expect(left).toHaveLength(3);
    try {
      expect(cleanLab().flatMap(({ namespaces }) => namespaces)).toEqual(expect.arrayContaining(left));
      expect(dead.names()).toEqual([]);
      expect(living.names()).toHaveLength(3);
    } finally {
      living.child.kill("SIGTERM");
      await once(living.child, "exit");
    }
  });
});

async function expectLabToGo(signal: NodeJS.Signals): Promise<void> {
  const { child, names, delayPid } = await labElsewhere();
  expect(names()).toHaveLength(3);
  child.kill(signal);
  expect(await once(child, "exit")).toEqual([null, signal]);
  expect(names()).toEqual([]);
  await gone(delayPid);
}

test("a lab goes with its process on SIGINT, SIGTERM and SIGHUP", async () => {
  await Promise.all((["SIGINT", "SIGTERM", "SIGHUP"] as const).map(expectLabToGo));
});

describe("a lab with two links", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await createLab(wifiAndLte);
  });
  afterAll(async () => {
    await lab?.close();
  });

  test.each([4, 6] as const)("startTransfer() uses both links and delivers every byte over IPv%i", async (family) => {
    const hosts: LabSpec["hosts"] = { client: {}, server: { endpoints: "signal", family } };
    await using lab = await createLab({ ...wifiAndLte, hosts });
    const transfer = await startTransfer(lab, { family });
    await vi.waitFor(
      async () => {
        const before = { at: performance.now(), bytes: transfer.receivedBytes };
        await sleep(1500);
        const mbit = ((transfer.receivedBytes - before.bytes) * 8) / 1000 / (performance.now() - before.at);
        expect(mbit).toBeGreaterThan(0.7 * 60);
        expect(mbit).toBeLessThan(60);
      },
      { timeout: 20_000 },
    );
    const [info, receiver] = [transfer.info(), transfer.receiverInfo()];
    const diagnosed = dumpTcpSockets(lab.netnsOf("server")).filter(({ mptcp }) => mptcp?.tokenLocal === info.token);
    const result = await transfer.stop();
    expect(result.ok).toBe(true);
    expect(result.receivedBytes).toBeGreaterThan(1e6);

    const server = lab.host("server").interfaces.map((one) => (family === 4 ? one.ipv4 : one.ipv6));
    expect(info.fallback).toBe(false);
    expect(info.subflows.map(({ local }) => local.address)).toEqual(server);
    expect(receiver.subflows.map(({ remote }) => remote.address)).toEqual(server);
    expect(diagnosed.map(tuple).sort()).toEqual(info.subflows.map(tuple).sort());
    expect(diagnosed.every(({ tcp }) => tcp !== undefined && tcp.windowScaling && tcp.rttUs > 15_000)).toBe(true);
    expect(diagnosed.map(({ congestionControl }) => congestionControl)).toEqual(["cubic", "cubic"]);
    expect(readMptcpCounters(lab, "server")["MPJoinAckRx"]).toBeGreaterThan(0);
    const counters = readLinkCounters(lab);
    expect(counters["lte"].backward.delivered.bytes).toBeGreaterThan(1e6);
  });

  test("bulk() uploads what it was told to", async () => {
    const result = await bulk(lab, { direction: "upload", bytes: 3_000_001 });
    expect(result).toMatchObject({ sentBytes: 3_000_001, receivedBytes: 3_000_001, ok: true });
  });

  test("bulk() refuses what it could not end with, and says why", async () => {
    for (const bytes of [0.5, -1, NaN]) await expect(bulk(lab, { bytes })).rejects.toThrow(`transfer ${bytes} bytes`);
    await expect(bulk(lab, {})).rejects.toThrow("neither bytes nor seconds");
  });

  test("bulk() over plain TCP tells that it is not MPTCP", async () => {
    const transfer = await startTransfer(lab, { protocol: "tcp", bytes: 1_000_000 });
    expect(mptcpInfo(transfer.client)).toMatchObject({ fallback: true, subflows: [] });
    expect((await transfer.done).ok).toBe(true);
  });

  test("close() cuts a running transfer off", async () => {
    const lab = await createLab(wifiAndLte);
    const transfer = await startTransfer(lab);
    await sleep(300);
    await lab.close();
    await expect(transfer.done).rejects.toThrow(/closed/);
    expect(transfer.client.destroyed && transfer.server.destroyed).toBe(true);
  });

  test("requestResponse() takes at least two round trips per flow", async () => {
    const result = await requestResponse(lab, { count: 6, responseBytes: 20_000, concurrency: 2 });
    expect(result.ok).toBe(true);
    expect(result.flows).toHaveLength(6);
    expect(Math.min(...result.flows.map((flow) => flow.completionMs))).toBeGreaterThan(40);
  });

  test("setLink() changes delay and loss of a link that is up", async () => {
    const probe = { from: "client", to: "server", link: "wifi", count: 5, intervalMs: 5, timeoutMs: 300 };
    await lab.setLink("wifi", { rttMs: 80 });
    expect(Math.min(...(await ping(lab, probe)).rttsMs)).toBeGreaterThan(80);
    await lab.setLink("wifi", { lossPercent: 100 });
    expect((await ping(lab, probe)).rttsMs).toEqual([]);
    await lab.setLink("wifi", { lossPercent: 0, rttMs: 20 });
    expect((await ping(lab, { ...probe, timeoutMs: 2000 })).rttsMs).toHaveLength(5);
  });

  test("ping() works over IPv6", async () => {
    const { rttsMs } = await ping(lab, { from: "client", to: "server", link: "lte", family: 6, count: 3 });
    expect(rttsMs).toHaveLength(3);
    expect(Math.min(...rttsMs)).toBeGreaterThan(50);
  });
});

test("a lab whose delay process died says so", async () => {
  const lab = await createLab(wifiAndLte);
  try {
    const [pid] = processesIn(lab.netnsOf("wire"));
    process.kill(pid, "SIGKILL");
    await gone(pid);
    await sleep(10);
    expect(() => lab.check()).toThrow(/delay process/);
  } finally {
    await lab.close();
  }
});

test("listLabs() knows whose lab it is", async () => {
  const lab = await createLab({ hosts: { a: {}, b: {} }, links: [{ name: "x", between: ["a", "b"] }] });
  try {
    const run = listLabs().find(({ runId }) => runId === lab.runId);
    expect(run).toMatchObject({ pid: process.pid, alive: true });
  } finally {
    await lab.close();
  }
});
