import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, rmdirSync, statSync } from "node:fs";
import { createConnection, createServer, type AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import * as asm from "../../bpf/asm.ts";
import type { MapSpec, ProgramSpec } from "../../bpf/spec.ts";
import { ensureBpffs, renamePin } from "../bpffs.ts";
import { KernelError } from "../kernel-error.ts";
import { createMap, type KernelMap } from "../maps.ts";
import { createNetns, deleteNetns, withNetns } from "../netns.ts";
import { loadProgram, openProgram, type KernelProgram } from "../programs.ts";
import { attachSockOps, findCgroup2 } from "./cgroup.ts";
import { linkFromId, openLink } from "./link.ts";
import { attachTcx, queryTcx } from "./tcx.ts";
import { attachXdp } from "./xdp.ts";

const namespace = `emptcp-links-${process.pid}`;
const [near, far] = ["near", "far"];
let directory: string;

function run(command: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr}`);
  return stdout;
}

beforeAll(() => {
  directory = `${ensureBpffs()}/emptcp-links-${process.pid}`;
  mkdirSync(directory);
  createNetns(namespace);
  withNetns(namespace, () => {
    run("ip", "link", "add", near, "type", "veth", "peer", "name", far);
    for (const name of [near, far]) run("ip", "link", "set", name, "up");
    run("ip", "addr", "add", "10.77.0.1/24", "dev", near);
    run("ip", "neigh", "add", "10.77.0.2", "lladdr", "02:00:00:00:00:02", "dev", near);
  });
});
afterAll(() => {
  deleteNetns(namespace);
  rmdirSync(directory);
});

const hits: MapSpec = { name: "hits", type: "array", keySize: 4, valueSize: 8, maxEntries: 1 };

/** Adds `step` to the map's entry for each run, answers `verdict`. */
function counter(shape: Pick<ProgramSpec, "type" | "attachType">, map: KernelMap, step: number, verdict: number) {
  return loadProgram(
    {
      name: `count${step}`,
      ...shape,
      license: "GPL",
      instructions: [
        asm.loadMapValue(1, "hits", 0),
        asm.alu64.mov.imm(2, step),
        asm.atomic("add", 8, 1, 0, 2),
        asm.alu64.mov.imm(0, verdict),
        asm.exit(),
      ],
      maps: { hits },
    },
    { hits: map },
  );
}

function count(map: KernelMap): number {
  return Number(new DataView(map.lookup(new Uint8Array(4))!.buffer).getBigUint64(0, true));
}

/** Sends one packet from near to far, without waiting for an answer, and tells by how much the count grew. */
function grows(map: KernelMap): number {
  const before = count(map);
  const flood = ["-b", "-c1", "-W1", "-n", "10.77.0.255"];
  withNetns(namespace, () => spawnSync("bash", ["-c", `echo x > /dev/udp/10.77.0.2/9 || ping ${flood.join(" ")}`]));
  return count(map) - before;
}

const xdp = { type: "xdp", attachType: "xdp" } as const;
const tc = { type: "schedCls", attachType: "tcxIngress" } as const;

test("attachXdp() runs the program natively on a veth, update() swaps it, detach() ends it", () => {
  using map = createMap(hits);
  using one = counter(xdp, map, 1, 2);
  using thousand = counter(xdp, map, 1000, 2);
  using link = withNetns(namespace, () => attachXdp(one, { interface: far }));
  expect(link.mode).toBe("native");
  expect(grows(map)).toBeGreaterThan(0);
  expect(() => withNetns(namespace, () => attachXdp(one, { interface: far }))).toThrow("another program is on XDP");
  expect(() => link.update(thousand, thousand)).toThrow("what is in place is not program count1000");
  link.update(thousand, one);
  expect(grows(map)).toBeGreaterThanOrEqual(1000);
  expect(link.info()).toMatchObject({ type: "xdp", programId: thousand.info().id });
  link.detach();
  expect(grows(map)).toBe(0);
  expect(link.info().interfaceIndex).toBe(0);
});

test("attachXdp() uses the generic mode when asked", () => {
  using map = createMap(hits);
  using program = counter(xdp, map, 1, 2);
  using link = withNetns(namespace, () => attachXdp(program, { interface: far, mode: "generic" }));
  expect(link.mode).toBe("generic");
  expect(grows(map)).toBeGreaterThan(0);
});

test.each(["ingress", "egress"] as const)("attachTcx() runs programs on %s in their order", (direction) => {
  const on = { interface: direction === "ingress" ? far : near, direction };
  using map = createMap(hits);
  using one = counter(tc, map, 1, -1);
  using thousand = counter(tc, map, 1000, 0);
  using million = counter(tc, map, 1_000_000, 0);
  withNetns(namespace, () => {
    using first = attachTcx(one, on);
    using last = attachTcx(thousand, on);
    expect(grows(map) % 1001).toBe(0);
    expect(count(map)).toBeGreaterThan(0);
    expect(() => attachTcx(one, on)).toThrow("this very program is on the hook already");
    using before = attachTcx(million, { ...on, before: first });
    expect(queryTcx(on).map(({ linkId }) => linkId)).toEqual([before.info().id, first.info().id, last.info().id]);
    expect(grows(map) % 1_000_000).toBe(0);
    expect(first.info()).toMatchObject({
      type: "tcx",
      attachType: direction === "ingress" ? "tcxIngress" : "tcxEgress",
    });
  });
  expect(withNetns(namespace, () => queryTcx(on))).toEqual([]);
});

test("attachTcx() names the interfaces there are when there is none of that name", () => {
  using map = createMap(hits);
  using program = counter(tc, map, 1, 0);
  const attach = () => withNetns(namespace, () => attachTcx(program, { interface: "wlan7", direction: "ingress" }));
  expect(attach).toThrow(/no interface wlan7 .* there are .*near/);
  expect(() => attachTcx(program, { interface: 99_999, direction: "ingress" })).toThrow(KernelError);
});

test("KernelLink.pin() keeps a program attached, and replaceable, until pin and last descriptor are gone", () => {
  const path = `${directory}/link`;
  using map = createMap(hits);
  using program = counter(tc, map, 1, 0);
  const link = withNetns(namespace, () => attachTcx(program, { interface: far, direction: "ingress" }));
  try {
    link.pin(path);
    link.close();
    expect(grows(map)).toBeGreaterThan(0);
    const again = openLink(path);
    expect(linkFromIdCloses(again.info().id)).toBe("tcx");
    using thousand = counter(tc, map, 1000, 0);
    again.update(thousand, program);
    expect(grows(map)).toBeGreaterThanOrEqual(1000);
    using unfit = counter(xdp, map, 1, 2);
    expect(() => again.update(unfit)).toThrow("the new one is of another type");
    again.close();
  } finally {
    link.close();
    rmSync(path, { force: true });
  }
  expect(grows(map)).toBe(0);
});

function linkFromIdCloses(id: number): string {
  using link = linkFromId(id);
  return link.info().type;
}

test("renamePin() replaces what is pinned at the new path", () => {
  using map = createMap(hits);
  using one = counter(tc, map, 1, 0);
  using two = counter(tc, map, 2, 0);
  one.pin(`${directory}/current`);
  two.pin(`${directory}/next`);
  try {
    renamePin(`${directory}/next`, `${directory}/current`);
    expect(() => statSync(`${directory}/next`)).toThrow("ENOENT");
    expect(idOf(`${directory}/current`)).toBe(two.info().id);
  } finally {
    rmSync(`${directory}/current`, { force: true });
    rmSync(`${directory}/next`, { force: true });
  }
});

test("attachSockOps() sees the connections of its cgroup only", async () => {
  const cgroup = `${findCgroup2()}/emptcp-links-${process.pid}`;
  const home = `${findCgroup2()}${/^0::(.*)$/m.exec(readFileSync("/proc/self/cgroup", "utf8"))![1]}`;
  mkdirSync(cgroup);
  try {
    using map = createMap(hits);
    using program = counter({ type: "sockOps", attachType: "cgroupSockOps" }, map, 1, 1);
    using link = attachSockOps(program, { cgroup });
    expect(link.info()).toMatchObject({ type: "cgroup", attachType: "cgroupSockOps" });
    await connectOnce();
    expect(count(map)).toBe(0);
    run("bash", "-c", `echo ${process.pid} > ${cgroup}/cgroup.procs`);
    try {
      await connectOnce();
    } finally {
      run("bash", "-c", `echo ${process.pid} > ${home}/cgroup.procs`);
    }
    expect(count(map)).toBeGreaterThan(0);
  } finally {
    rmdirSync(cgroup);
  }
});

async function connectOnce(): Promise<void> {
  const server = createServer((socket) => socket.end());
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  await new Promise<void>((done, failed) => {
    const client = createConnection((server.address() as AddressInfo).port, "127.0.0.1");
    client
      .on("close", () => done())
      .on("error", failed)
      .resume();
  });
  await new Promise((done) => server.close(done));
}

function idOf(path: string): number {
  using program: KernelProgram = openProgram(path);
  return program.info().id;
}
