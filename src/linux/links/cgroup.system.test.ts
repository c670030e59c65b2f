import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import type { AddressInfo, Socket } from "node:net";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import * as asm from "../../bpf/asm.ts";
import type { MapSpec, ProgramSpec } from "../../bpf/spec.ts";
import { loadCollection } from "../collection.ts";
import { MapFlag } from "../maps.ts";
import { createNetns, deleteNetns, withNetns } from "../netns.ts";
import { connectMptcp, descriptorOf, listenMptcp } from "../sockets.ts";
import { attachSockOps, findCgroup2 } from "./cgroup.ts";

const namespace = `emptcp-cgroup-${process.pid}`;
const cgroup = `${findCgroup2()}/${namespace}`;

/** BPF_SOCK_OPS_* (include/uapi/linux/bpf.h): when the program runs, and the flags that ask for it. */
const event = { activeEstablished: 4, passiveEstablished: 5, rto: 8, state: 10, rtt: 12 } as const;
const flag = { rto: 1, state: 4, rtt: 8 } as const;
const CREATE = 1;

const events: MapSpec = { name: "events", type: "array", keySize: 4, valueSize: 8, maxEntries: 32 };
const samples: MapSpec = {
  name: "samples",
  type: "skStorage",
  keySize: 4,
  valueSize: 8,
  maxEntries: 0,
  flags: MapFlag.noPrealloc,
};

/** Counts events by kind, asks for more of them once a connection is there, counts each socket's samples of the RTT. */
const watcher: ProgramSpec = {
  name: "watcher",
  type: "sockOps",
  attachType: "cgroupSockOps",
  license: "GPL",
  maps: { events, samples },
  instructions: [
    asm.alu64.mov.reg(6, 1),
    asm.loadField(4, 7, 6, "bpf_sock_ops", "op"),
    asm.store(4, 10, -4, 7),
    asm.alu64.mov.reg(2, 10),
    asm.alu64.add.imm(2, -4),
    asm.loadMap(1, "events"),
    asm.call("mapLookupElem"),
    asm.jump64.eq.imm(0, 0, 2),
    asm.alu64.mov.imm(1, 1),
    asm.atomic("add", 8, 0, 0, 1),
    asm.jump64.eq.imm(7, event.rtt, 6),
    asm.jump64.eq.imm(7, event.activeEstablished, 1),
    asm.jump64.ne.imm(7, event.passiveEstablished, 14),
    asm.alu64.mov.reg(1, 6),
    asm.alu64.mov.imm(2, flag.rto | flag.state | flag.rtt),
    asm.call("sockOpsCbFlagsSet"),
    asm.goto(10),
    asm.loadField(8, 2, 6, "bpf_sock_ops", "sk"),
    asm.jump64.eq.imm(2, 0, 8),
    asm.loadMap(1, "samples"),
    asm.alu64.mov.imm(3, 0),
    asm.alu64.mov.imm(4, CREATE),
    asm.call("skStorageGet"),
    asm.jump64.eq.imm(0, 0, 2),
    asm.alu64.mov.imm(1, 1),
    asm.atomic("add", 8, 0, 0, 1),
    asm.alu64.mov.imm(0, 1),
    asm.exit(),
  ],
};

function u32(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

function number(bytes: Uint8Array | undefined): number | undefined {
  return bytes && Number(new DataView(bytes.buffer).getBigUint64(0, true));
}

beforeEach(() => {
  createNetns(namespace);
  withNetns(namespace, () => spawnSync("ip", ["link", "set", "lo", "up"]));
  mkdirSync(cgroup);
});
afterEach(() => {
  rmdirSync(cgroup);
  deleteNetns(namespace);
});

/** Sockets belong to the cgroup in which they are made. */
async function inCgroup<T>(act: () => Promise<T>): Promise<T> {
  const home = `${findCgroup2()}${/^0::(.*)$/m.exec(readFileSync("/proc/self/cgroup", "utf8"))![1]}`;
  writeFileSync(`${cgroup}/cgroup.procs`, `${process.pid}`);
  try {
    return await act();
  } finally {
    writeFileSync(`${home}/cgroup.procs`, `${process.pid}`);
  }
}

test("a sockOps program hears of RTT samples, timeouts and states it asked for, and keeps records of sockets", async () => {
  using collection = loadCollection({ programs: { watcher } });
  using _link = attachSockOps(collection.programs["watcher"], { cgroup });
  const { events: counts, samples: records } = collection.maps;
  const count = (of: keyof typeof event) => number(counts.lookup(u32(event[of])))!;
  const [client, peer, server] = await inCgroup(async () => {
    const listener = await listenMptcp({ address: "127.0.0.1", port: 0, netns: namespace, protocol: "tcp" });
    const accepted = once(listener, "connection") as Promise<[Socket]>;
    const { port } = listener.address() as AddressInfo;
    const near = await connectMptcp({ address: "127.0.0.1", port, netns: namespace, protocol: "tcp" });
    return [near, (await accepted)[0], listener] as const;
  });
  try {
    peer.resume();
    client.write("hello");
    const key = u32(descriptorOf(client));
    await vi.waitFor(() => expect(number(records.lookup(key))).toBeGreaterThan(0));
    expect(number(records.lookup(key))).toBeLessThanOrEqual(count("rtt"));
    expect(records.delete(key)).toBe(true);
    expect(records.lookup(key)).toBeUndefined();
    expect([count("activeEstablished"), count("passiveEstablished"), count("rto")]).toEqual([1, 1, 0]);

    withNetns(namespace, () => spawnSync("iptables", ["-A", "INPUT", "-j", "DROP"]));
    client.write("nobody hears this");
    await vi.waitFor(() => expect(count("rto")).toBeGreaterThan(0), { timeout: 5000 });
    const before = count("state");
    client.destroy();
    await vi.waitFor(() => expect(count("state")).toBeGreaterThan(before));
  } finally {
    client.destroy();
    peer.destroy();
    server.close();
  }
});
