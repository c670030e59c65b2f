import { spawnSync } from "node:child_process";
import { createConnection, createServer, type AddressInfo, type Socket } from "node:net";
import { expect, test } from "vitest";
import * as asm from "../../bpf/asm.ts";
import type { ProgramSpec } from "../../bpf/spec.ts";
import { createNetns, deleteNetns, withNetns } from "../netns.ts";
import { bindSocket, closeSocket, listenSocket, openSocket, SOCK_STREAM } from "../socket-calls.ts";
import { NoKernelTypeError } from "../kernel-btf.ts";
import { loadProgram } from "../programs.ts";
import { createIterLink, runIter } from "./iter.ts";

const SOL_SOCKET = 1;
const SO_MAX_PACING_RATE = 47;
const RATE_BYTES_PER_SECOND = 1_234_500;

/** Writes port and addresses of each TCP socket over IPv4, and paces those bound to `port`. */
function pacer(port: number): ProgramSpec {
  const end = 28;
  const skip = (at: number) => end - at - 1;
  return {
    name: "pacer",
    type: "tracing",
    attachType: "traceIter",
    attachTarget: "bpf_iter_tcp",
    license: "GPL",
    maps: {},
    instructions: [
      asm.alu64.mov.reg(6, 1),
      asm.loadField(8, 7, 1, "bpf_iter__tcp", "sk_common"),
      asm.jump64.eq.imm(7, 0, skip(2)),
      asm.loadField(2, 1, 7, "sock_common", "skc_family"),
      asm.jump64.ne.imm(1, 2, skip(4)),
      asm.loadField(2, 1, 7, "sock_common", "skc_num"),
      asm.store(4, 10, -16, 1),
      asm.jump64.ne.imm(1, port, skip(7)),
      asm.loadField(4, 1, 7, "sock_common", "skc_rcv_saddr"),
      asm.store(4, 10, -12, 1),
      asm.alu64.mov.reg(1, 7),
      asm.call("skcToTcpSock"),
      asm.jump64.eq.imm(0, 0, skip(12)),
      asm.storeImm(4, 10, -4, RATE_BYTES_PER_SECOND),
      asm.alu64.mov.reg(1, 0),
      asm.alu64.mov.imm(2, SOL_SOCKET),
      asm.alu64.mov.imm(3, SO_MAX_PACING_RATE),
      asm.alu64.mov.reg(4, 10),
      asm.alu64.add.imm(4, -4),
      asm.alu64.mov.imm(5, 4),
      asm.call("setsockopt"),
      asm.store(4, 10, -8, 0),
      asm.loadField(8, 1, 6, "bpf_iter__tcp", "meta"),
      asm.loadField(8, 1, 1, "bpf_iter_meta", "seq"),
      asm.alu64.mov.reg(2, 10),
      asm.alu64.add.imm(2, -16),
      asm.alu64.mov.imm(3, 12),
      asm.call("seqWrite"),
      asm.alu64.mov.imm(0, 0),
      asm.exit(),
    ],
  };
}

test("runIter() visits running TCP sockets, whose pacing a program can change", async () => {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  const accepted = new Promise<Socket>((done) => server.once("connection", done));
  const client = createConnection(port, "127.0.0.1");
  const peer = await accepted;
  try {
    using program = loadProgram(pacer(port), {});
    using link = createIterLink(program);
    expect(link.info()).toMatchObject({ type: "iter", programId: program.info().id });
    const written = new DataView(runIter(link).buffer);
    // The listener and the accepted socket.
    expect(written.byteLength).toBe(24);
    for (const at of [0, 12]) {
      expect(written.getUint32(at, true)).toBe(port);
      expect(written.getUint32(at + 4)).toBe(0x7f000001);
      expect(written.getInt32(at + 8, true)).toBe(0);
    }
    const listing = spawnSync("ss", ["-tinO", `sport = :${port}`], { encoding: "utf8" }).stdout;
    expect(listing).toContain(`/${RATE_BYTES_PER_SECOND * 8}bps`);
    expect(runIter(link).length).toBe(24);
  } finally {
    client.destroy();
    peer.destroy();
    server.close();
  }
});

test("runIter() visits the sockets of the namespace it runs in", () => {
  const namespace = `emptcp-iter-${process.pid}`;
  const port = 7000;
  createNetns(namespace);
  try {
    using program = loadProgram(pacer(port), {});
    using link = createIterLink(program);
    withNetns(namespace, () => {
      const socket = openSocket(2, SOCK_STREAM, 0);
      try {
        bindSocket(socket, { address: "0.0.0.0", port });
        listenSocket(socket, 1);
        expect(runIter(link).length).toBe(12);
      } finally {
        closeSocket(socket);
      }
      expect(runIter(link).length).toBe(0);
    });
  } finally {
    deleteNetns(namespace);
  }
});

test("loadProgram() names the kernel and the field or function that it lacks", () => {
  const field: ProgramSpec = {
    ...pacer(1),
    instructions: [asm.loadField(8, 0, 1, "sock_common", "skc_nothing"), asm.exit()],
  };
  expect(() => loadProgram(field, {})).toThrow(NoKernelTypeError);
  expect(() => loadProgram(field, {})).toThrow(/Linux \d.* has no field sock_common.skc_nothing/);
  expect(() => loadProgram({ ...pacer(1), attachTarget: "bpf_iter_no" }, {})).toThrow(/has no function bpf_iter_no/);
});
