import { rmdirSync, rmSync } from "node:fs";
import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { afterEach, expect, test, vi } from "vitest";
import * as asm from "../bpf/asm.ts";
import type { Instruction } from "../bpf/instruction.ts";
import { createLab, Transfer, type Lab, type TransferResult } from "../lab/index.ts";
import {
  availableCongestionControls,
  congestionControlOf,
  defaultCongestionControl,
  setDefaultCongestionControl,
} from "./congestion-control.ts";
import { dumpTcpSockets, type TcpSocket } from "./diag.ts";
import { NoKernelTypeError } from "./kernel-btf.ts";
import { createIterLink, runIter } from "./links/iter.ts";
import { linkFromId, openLink } from "./links/link.ts";
import { registerStructOps } from "./links/struct-ops.ts";
import { ensurePinDirectory } from "./bpffs.ts";
import { withNetns } from "./netns.ts";
import { enableRunStatistics, loadProgram, programFromId } from "./programs.ts";
import { connectMptcp, listenMptcp } from "./sockets.ts";
import { congestionOperation } from "./stack-probes.ts";
import { createStructOps, listStructOps, structOpsInfo } from "./struct-ops.ts";
import { controlSpec, loadControl, mover } from "./testing/congestion-control.ts";
import { VerifierError } from "./verifier-error.ts";

// Congestion control made of the kernel's own Reno functions, and one whose window never changes, registered and in use.

const name = `emp_${process.pid}`;
const CWND = 7;
let lab: Lab | undefined;

afterEach(async () => {
  await lab?.close();
  lab = undefined;
});

function listed() {
  return listStructOps().filter((one) => one.name === name);
}

test("registerStructOps() makes congestion control available under its name until its link is gone", () => {
  using reno = loadControl(name);
  expect(structOpsInfo(reno.map)).toMatchObject({ struct: "tcp_congestion_ops", name, registered: false });
  expect(availableCongestionControls()).not.toContain(name);
  using link = registerStructOps(reno.map);
  expect(availableCongestionControls()).toContain(name);
  const { id, ...info } = link.info();
  expect(info).toEqual({ type: "structOps", programId: 0, mapId: reno.map.info().id });
  expect(listed()).toEqual([
    {
      mapId: reno.map.info().id,
      struct: "tcp_congestion_ops",
      name,
      linkId: id,
      registered: true,
      users: 0,
      operations: Object.fromEntries(
        Object.entries(reno.programs).map(([member, program]) => [member, program.info().id]),
      ),
    },
  ]);
  using ssthresh = programFromId(listed()[0].operations["ssthresh"]);
  expect(ssthresh.info()).toMatchObject({ name: "ssthresh", type: "structOps" });
  link.close();
  expect(availableCongestionControls()).not.toContain(name);
  expect(listed()).toMatchObject([{ registered: false }]);
});

test("a pinned link keeps congestion control registered, detach() ends it for everyone", () => {
  const directory = ensurePinDirectory(`emptcp-structops-${process.pid}`);
  const path = `${directory}/link`;
  {
    using reno = loadControl(name);
    using link = registerStructOps(reno.map);
    link.pin(path);
  }
  try {
    expect(listed()).toMatchObject([{ registered: true }]);
    using link = openLink(path);
    linkFromId(link.info().id).detach();
    expect(link.info()).toMatchObject({ type: "structOps", mapId: 0 });
    expect(availableCongestionControls()).not.toContain(name);
  } finally {
    rmSync(path, { force: true });
    rmdirSync(directory);
  }
});

test("createStructOps() and registerStructOps() say what is wrong", () => {
  using reno = loadControl(name);
  using other = loadControl(name, CWND);
  using link = registerStructOps(reno.map);
  expect(() => registerStructOps(other.map)).toThrow(`something is registered as ${name} already`);
  expect(() => link.update(other.map, other.map)).toThrow(`what is in place is not map ${name}`);
  expect(() => loadControl("abcdefghijklmnop")).toThrow('name "abcdefghijklmnop" has more than 15 characters');
  expect(() => loadControl("no spaces")).toThrow("the name has characters other than");
  expect(() => loadProgram(congestionOperation("no_op", []), {})).toThrow("has no member no_op in tcp_congestion_ops");
  const spec = controlSpec(name);
  const make = (changes: Partial<typeof spec>) => createStructOps({ ...spec, ...changes }, reno.programs).close();
  expect(() => make({ struct: "no_such_ops" })).toThrow(NoKernelTypeError);
  expect(() => make({ struct: "no_such_ops" })).toThrow("it has no bpf_struct_ops_no_such_ops");
  expect(() => make({ operations: { ...spec.operations, no_op: "ssthresh" } })).toThrow(
    "has no member no_op in tcp_con",
  );
  expect(() => make({ operations: { ...spec.operations, flags: "ssthresh" } })).toThrow(
    "its member flags is no operation",
  );
  expect(() => make({ operations: { ...spec.operations, set_state: "lost" } })).toThrow(
    "program lost, which was not given",
  );
  expect(() => make({ operations: { ...spec.operations, init: "ssthresh" } })).toThrow(
    "a program is for another operation",
  );
  expect(() => make({ values: { ...spec.values, flags: -1 } })).toThrow("flags has 4 bytes, -1 does not fit");
});

const socket = asm.load(8, 1, 1, 0);
const castSocket = [socket, asm.loadType(2, "tcp_sock"), asm.callKernel("bpf_rdonly_cast")];
const refusals: Record<string, [member: string, instructions: readonly Instruction[], words: string]> = {
  "a field that congestion control may not write": [
    "cong_avoid",
    [socket, asm.alu64.mov.imm(2, 1), asm.storeField(4, 1, "tcp_sock", "srtt_us", 2)],
    "may only read",
  ],
  "a write beyond a field": [
    "cong_avoid",
    [socket, asm.alu64.mov.imm(2, 1), asm.storeField(8, 1, "tcp_sock", "snd_cwnd", 2)],
    "writes 8 bytes, more than the field",
  ],
  "a function that is not for programs": [
    "cong_avoid",
    [socket, asm.callKernel("tcp_enter_cwr")],
    "calls tcp_enter_cwr",
  ],
  "a socket that may only be read": [
    "cong_avoid",
    [...castSocket, asm.alu64.mov.reg(1, 0), asm.callKernel("tcp_reno_ssthresh")],
    "may only look at",
  ],
  "a number for a socket": [
    "cong_avoid",
    [asm.alu64.mov.imm(1, 1), asm.callKernel("tcp_reno_ssthresh")],
    "wants a sock",
  ],
  "an operation that is not for programs": ["get_info", [], "get_info of tcp_congestion_ops is an operation"],
};

test.each(Object.entries(refusals))("loadProgram() explains %s", (_, [member, instructions, words]) => {
  const whole = [...instructions, asm.alu64.mov.imm(0, 0), asm.exit()];
  let error: unknown;
  try {
    loadProgram(congestionOperation(member, whole), {}).close();
  } catch (thrown) {
    error = thrown;
  }
  expect(error, String(error)).toBeInstanceOf(VerifierError);
  expect((error as VerifierError).explanation).toContain(words);
  expect((error as VerifierError).advice).toBeDefined();
});

/** Server to client, each end with what its namespace gives new sockets. */
async function transferMptcp(seconds: number): Promise<Transfer> {
  const [client, server] = ["client", "server"].map((host) => lab!.host(host));
  const listener = await listenMptcp({ address: "::", port: 0, netns: server.netns, allowHalfOpen: true });
  const accepted = once(listener, "connection") as Promise<[Socket]>;
  const { port } = listener.address() as AddressInfo;
  const address = server.interfaces[0].ipv6;
  const near = await connectMptcp({ address, port, netns: client.netns, allowHalfOpen: true });
  const [far] = await accepted;
  const close = () => {
    near.destroy();
    far.destroy();
    listener.close();
  };
  return new Transfer({ client: near, server: far, listener, close }, { seconds });
}

/** Of the sending host. */
function subflowsOf(transfer: Transfer): TcpSocket[] {
  const port = (transfer.server.address() as AddressInfo).port;
  return dumpTcpSockets(lab!.host("server").netns).filter(
    ({ mptcp, local, state }) => mptcp && local.port === port && state === "established",
  );
}

async function finish(transfer: Transfer): Promise<TransferResult> {
  const result = await transfer.stop();
  expect(result.receivedBytes).toBeGreaterThan(0);
  expect([result.receivedBytes, result.receivedHash]).toEqual([result.sentBytes, result.sentHash]);
  return result;
}

test("programs do the congestion control of both subflows of a connection, and update() replaces them under traffic", async () => {
  using reno = loadControl(name);
  using fixed = loadControl(name, CWND);
  using link = registerStructOps(reno.map);
  using _statistics = enableRunStatistics();
  const runs = (control: typeof reno) => control.programs["cong_avoid"].info().runCount;
  const path = { between: ["client", "server"], rateMbit: 20, rttMs: 10 } as const;
  lab = await createLab({
    hosts: { client: { family: 6 }, server: { endpoints: "signal", family: 6 } },
    links: [
      { name: "wifi", ...path },
      { name: "lte", ...path },
    ],
  });
  const { netns } = lab.host("server");
  setDefaultCongestionControl(name, netns);
  expect(defaultCongestionControl(netns)).toBe(name);
  expect(() => setDefaultCongestionControl("no_such", netns)).toThrow(
    `available are ${availableCongestionControls(netns)[0]}`,
  );

  const before = await transferMptcp(20);
  await vi.waitFor(() => expect(subflowsOf(before)).toHaveLength(2), { timeout: 5000 });
  expect(subflowsOf(before).map(({ congestionControl }) => congestionControl)).toEqual([name, name]);
  expect(congestionControlOf(before.server)).toBe(name);
  expect(congestionControlOf(before.client)).toBe(defaultCongestionControl(lab.host("client").netns));
  await vi.waitFor(() => expect(runs(reno)).toBeGreaterThan(100), { timeout: 5000 });
  expect(reno.programs["cong_avoid"].info().runTimeNs).toBeGreaterThan(0);

  link.update(fixed.map, reno.map);
  expect(link.info().mapId).toBe(fixed.map.info().id);
  // Both subflows, their connection and the namespace's default hold on to what they have.
  expect(structOpsInfo(reno.map)).toMatchObject({ registered: false });
  expect(structOpsInfo(reno.map).users).toBeGreaterThanOrEqual(2);
  const atUpdate = runs(reno);
  await vi.waitFor(() => expect(runs(reno)).toBeGreaterThan(atUpdate), { timeout: 5000 });
  expect(runs(fixed)).toBe(0);
  {
    using program = loadProgram(mover(name), {});
    using all = createIterLink(program);
    withNetns(netns, () => runIter(all));
  }
  // Only the namespace's default is left to the old one.
  await vi.waitFor(() => expect(structOpsInfo(reno.map).users).toBeLessThan(2), { timeout: 5000 });
  await vi.waitFor(() => expect(runs(fixed)).toBeGreaterThan(100), { timeout: 5000 });
  expect(subflowsOf(before).map(({ tcp }) => tcp?.sndCwnd)).toEqual([CWND, CWND]);
  await finish(before);

  setDefaultCongestionControl(name, netns);
  const after = await transferMptcp(20);
  await vi.waitFor(() => expect(subflowsOf(after)).toHaveLength(2), { timeout: 5000 });
  const atSecond = runs(fixed);
  await vi.waitFor(() => expect(runs(fixed)).toBeGreaterThan(atSecond + 100), { timeout: 5000 });
  expect(subflowsOf(after).map(({ tcp, congestionControl }) => [congestionControl, tcp?.sndCwnd])).toEqual([
    [name, CWND],
    [name, CWND],
  ]);
  link.close();
  expect(availableCongestionControls(netns)).not.toContain(name);
  await finish(after);
});
