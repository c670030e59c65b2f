import { describe, expect, it } from "vitest";
import * as asm from "../asm.ts";
import type { Instruction } from "../instruction.ts";
import type { MapSpec, ProgramSpec } from "../spec.ts";
import { makeConnection } from "../testing/mptcp.ts";
import type { SocketStorageMap } from "./maps.ts";
import { OperationsVm } from "./operations.ts";
import { Vm, type VmOptions } from "./vm.ts";

const [r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
const { alu64, jump64, call, callKernel, exit, load, loadField, loadType, storeField } = asm;

const memory: MapSpec = { name: "memory", type: "skStorage", keySize: 4, valueSize: 8, maxEntries: 0, flags: 1 };

function operation(member: string, instructions: readonly Instruction[], options: VmOptions = {}): Vm {
  const spec: ProgramSpec = {
    name: member,
    type: "structOps",
    operation: { struct: "tcp_congestion_ops", member },
    license: "GPL",
    instructions,
    maps: { memory },
  };
  return new Vm(spec, options);
}

/** r6 = the socket. */
const socketTo6 = load(8, r6, r1, 0);
const cast = (pointer: number, struct: string): Instruction[] => [
  alu64.mov.reg(r1, pointer),
  loadType(r2, struct),
  callKernel("bpf_rdonly_cast"),
];

describe("Vm.runOperation()", () => {
  it("gives programs the arguments of the operation and keeps what they write to their socket", () => {
    const vm = operation("cong_avoid", [
      socketTo6,
      load(8, r7, r1, 16),
      loadField(4, r8, r6, "tcp_sock", "snd_cwnd", 4),
      alu64.add.reg(r8, r7),
      storeField(4, r6, "tcp_sock", "snd_cwnd", r8, 4),
      alu64.mov.imm(r0, 0),
      exit(),
    ]);
    const objects = vm.objects;
    const socket = objects.make("tcp_sock", { snd_cwnd: 30 });
    vm.runOperation([socket, 1000, 3]);
    vm.runOperation([socket, 2000, 4]);
    expect(objects.read(socket, "tcp_sock.snd_cwnd")).toBe(37n);
  });

  it.each<[string, Instruction[], string]>([
    [
      "what is not congestion control's",
      [storeField(4, r6, "tcp_sock", "srtt_us", r6)],
      "writes 4 bytes of tcp_sock.srtt_us",
    ],
    ["more than the field", [storeField(8, r6, "tcp_sock", "snd_cwnd", r6)], "writes 8 bytes of tcp_sock.snd_cwnd"],
    [
      "another socket",
      [
        loadField(8, r7, r6, "tcp_sock", "peer"),
        ...cast(r7, "tcp_sock"),
        storeField(4, r0, "tcp_sock", "snd_cwnd", r6),
      ],
      "an object that it was not called with",
    ],
  ])("refuses writes to %s", (_, instructions, reason) => {
    const vm = operation("cong_avoid", [socketTo6, ...instructions, exit()]);
    const peer = vm.objects.make("tcp_sock");
    const socket = vm.objects.make("tcp_sock", { peer });
    expect(() => vm.runOperation([socket])).toThrow(reason);
  });

  it("finds a field by every structure that begins with the one that has it", () => {
    const vm = operation("ssthresh", [
      socketTo6,
      loadField(8, r0, r6, "sock", "sk_pacing_rate", 8),
      loadField(8, r1, r6, "tcp_sock", "inet_conn.icsk_inet.sk.sk_pacing_rate", 8),
      alu64.sub.reg(r0, r1),
      exit(),
    ]);
    const socket = vm.objects.make("tcp_sock", { "sock.sk_pacing_rate": 5 });
    expect(vm.runOperation([socket]).r0).toBe(0n);
    expect(vm.objects.read(socket, "sock.sk_pacing_rate")).toBe(5n);
  });

  it("refuses a program that expects another size of a field than others do", () => {
    const wrong = loadField(8, r0, r6, "tcp_sock", "snd_cwnd", 8);
    expect(() => operation("ssthresh", [socketTo6, wrong, exit()])).toThrow(
      "tcp_sock.snd_cwnd is used with 8 bytes, and with 4 elsewhere",
    );
  });

  it("reads zeros through stray pointers and of objects that are gone, but nothing through numbers", () => {
    const follow = operation("ssthresh", [
      socketTo6,
      loadField(8, r7, r6, "inet_connection_sock", "icsk_ulp_data", 8),
      ...cast(r7, "mptcp_subflow_context"),
      loadField(8, r1, r0, "mptcp_subflow_context", "conn", 8),
      loadField(4, r0, r1, "mptcp_sock", "token", 4),
      exit(),
    ]);
    const objects = follow.objects;
    const conn = objects.make("mptcp_sock", { token: 77 });
    const subflow = objects.make("mptcp_subflow_context", { conn });
    const socket = (icsk_ulp_data: bigint) =>
      objects.make("tcp_sock", { "inet_connection_sock.icsk_ulp_data": icsk_ulp_data });
    expect(follow.runOperation([socket(subflow)]).returnValue).toBe(77);
    expect(follow.runOperation([socket(0x1234_5678_9abcn)]).returnValue).toBe(0);
    expect(follow.runOperation([socket(0n)]).returnValue).toBe(0);
    objects.free(conn);
    expect(follow.runOperation([socket(subflow)]).returnValue).toBe(0);
    const number = operation("ssthresh", [alu64.mov.imm(r1, 0x1234), load(4, r0, r1, 0), exit()]);
    expect(() => number.runOperation([])).toThrow("through what is no pointer");
  });

  it("refuses casts of an object to what it is not", () => {
    const vm = operation("ssthresh", [socketTo6, ...cast(r6, "mptcp_subflow_context"), exit()]);
    expect(() => vm.runOperation([vm.objects.make("tcp_sock")])).toThrow(
      "takes a struct tcp_sock for a struct mptcp_subflow_context",
    );
  });

  it("lets programs walk the subflows of a connection", () => {
    // Adds up the windows of all: r6 socket, r7 connection, r8 node, r9 sum.
    const vm = operation("ssthresh", [
      socketTo6,
      loadField(8, r7, r6, "inet_connection_sock", "icsk_ulp_data", 8),
      ...cast(r7, "mptcp_subflow_context"),
      loadField(8, r7, r0, "mptcp_subflow_context", "conn", 8),
      ...cast(r7, "mptcp_sock"),
      alu64.mov.reg(r7, r0),
      asm.addFieldOffset(r7, "mptcp_sock", "conn_list"),
      alu64.mov.imm(r9, 0),
      load(8, r8, r7, 0),
      // Up to the head again.
      jump64.eq.reg(r8, r7, 12),
      alu64.mov.reg(r1, r8),
      asm.addFieldOffset(r1, "mptcp_subflow_context", "node", "negative"),
      loadType(r2, "mptcp_subflow_context"),
      callKernel("bpf_rdonly_cast"),
      loadField(8, r1, r0, "mptcp_subflow_context", "tcp_sock", 8),
      loadType(r2, "tcp_sock"),
      callKernel("bpf_rdonly_cast"),
      loadField(4, r3, r0, "tcp_sock", "snd_cwnd", 4),
      alu64.add.reg(r9, r3),
      alu64.mov.reg(r1, r8),
      loadField(8, r8, r1, "list_head", "next", 8),
      asm.goto(-13),
      alu64.mov.reg(r0, r9),
      exit(),
    ]);
    const objects = vm.objects;
    const { sockets } = makeConnection(
      objects,
      [10, 20, 30].map((snd_cwnd) => ({ snd_cwnd })),
    );
    expect(vm.runOperation([sockets[1]]).returnValue).toBe(60);
  });

  const limitPacing = [
    socketTo6,
    asm.storeImm(4, r10, -4, 125_000),
    alu64.mov.reg(r1, r6),
    alu64.mov.imm(r2, 1),
    alu64.mov.imm(r3, 47),
    alu64.mov.reg(r4, r10),
    alu64.add.imm(r4, -4),
    alu64.mov.imm(r5, 4),
    call("setsockopt"),
    exit(),
  ];

  it("caps the pacing of a socket by SO_MAX_PACING_RATE and tells which", () => {
    const vm = operation("init", limitPacing);
    const socket = vm.objects.make("tcp_sock", { "sock.sk_pacing_rate": 1_000_000 });
    const { returnValue, socketOptions } = vm.runOperation([socket]);
    expect(returnValue).toBe(0);
    expect(socketOptions).toEqual([{ socket, level: 1, option: 47, value: Uint8Array.of(0x48, 0xe8, 1, 0) }]);
    expect(vm.objects.read(socket, "sock.sk_max_pacing_rate")).toBe(125_000n);
    expect(vm.objects.read(socket, "sock.sk_pacing_rate")).toBe(125_000n);
  });

  it("has no setsockopt for release, as the kernel has none", () => {
    const vm = operation("release", limitPacing);
    expect(() => vm.runOperation([vm.objects.make("tcp_sock")])).toThrow("no such function for this program");
  });

  it("keeps records of sockets, each its own, until they are deleted", () => {
    const record = (then: readonly Instruction[]) => [
      socketTo6,
      asm.loadMap(r1, "memory"),
      alu64.mov.reg(r2, r6),
      alu64.mov.imm(r3, 0),
      ...then,
      exit(),
    ];
    const count = operation(
      "cong_avoid",
      record([
        alu64.mov.imm(r4, 1),
        call("skStorageGet"),
        load(8, r7, r0, 0),
        alu64.add.imm(r7, 1),
        asm.store(8, r0, 0, r7),
        alu64.mov.reg(r0, r7),
      ]),
    );
    const objects = count.objects;
    const shared = { objects, maps: count.maps };
    const look = operation("undo_cwnd", record([alu64.mov.imm(r4, 0), call("skStorageGet")]), shared);
    const forget = operation("release", record([call("skStorageDelete")]), shared);
    const [one, other] = [objects.make("tcp_sock"), objects.make("tcp_sock")];
    expect(look.runOperation([one]).r0).toBe(0n);
    expect([one, one, other].map((socket) => count.runOperation([socket]).returnValue)).toEqual([1, 2, 1]);
    expect(forget.runOperation([one]).returnValue).toBe(0);
    expect(look.runOperation([one]).r0).toBe(0n);
    expect((count.maps.get("memory") as SocketStorageMap).records()).toEqual(
      new Map([[other, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0)]]),
    );
  });
});

/** Calls a function with the operation's arguments. */
const passOn = (name: string) => [
  load(8, r2, r1, 8),
  load(8, r3, r1, 16),
  load(8, r1, r1, 0),
  callKernel(name),
  exit(),
];

/** Calls a function on a socket with these fields. */
function run(name: string, fields: Record<string, number>, ...args: number[]) {
  const vm = operation("cong_avoid", passOn(name));
  const socket = vm.objects.make("tcp_sock", fields);
  const { returnValue } = vm.runOperation([socket, ...args, ...[0, 0].slice(args.length)]);
  const read = (field: string) => Number(vm.objects.read(socket, `tcp_sock.${field}`));
  return { returnValue, cwnd: read("snd_cwnd"), count: read("snd_cwnd_cnt") };
}

describe("kernel functions of a Vm", () => {
  it.each([
    [9, 4],
    [3, 2],
  ])("tcp_reno_ssthresh of a window of %i is %i", (snd_cwnd, expected) => {
    expect(run("tcp_reno_ssthresh", { snd_cwnd }).returnValue).toBe(expected);
  });

  it("tcp_reno_undo_cwnd goes back to the window before the loss", () => {
    expect(run("tcp_reno_undo_cwnd", { snd_cwnd: 5, prior_cwnd: 11 }).returnValue).toBe(11);
  });

  it("tcp_slow_start grows up to the threshold and says what is left", () => {
    expect(run("tcp_slow_start", { snd_cwnd: 10, snd_ssthresh: 12 }, 5)).toMatchObject({ returnValue: 3, cwnd: 12 });
  });

  it("tcp_cong_avoid_ai grows by one for each window that is acknowledged", () => {
    const socket = { snd_cwnd: 10, snd_cwnd_cnt: 8 };
    expect(run("tcp_cong_avoid_ai", socket, 10, 1)).toMatchObject({ cwnd: 10, count: 9 });
    expect(run("tcp_cong_avoid_ai", socket, 10, 13)).toMatchObject({ cwnd: 12, count: 1 });
    // What was saved for a larger window counts for one.
    expect(run("tcp_cong_avoid_ai", socket, 4, 1)).toMatchObject({ cwnd: 11, count: 1 });
  });

  it("tcp_cong_avoid_ai refuses a window of 0, by which the kernel would divide", () => {
    expect(() => run("tcp_cong_avoid_ai", {}, 0, 1)).toThrow("divides by a window of 0");
  });

  it("tcp_reno_cong_avoid grows only where the window limits sending", () => {
    const socket = { snd_cwnd: 10, snd_ssthresh: 12 };
    expect(run("tcp_reno_cong_avoid", socket, 0, 3)).toMatchObject({ cwnd: 10 });
    expect(run("tcp_reno_cong_avoid", { ...socket, max_packets_out: 6 }, 0, 1)).toMatchObject({ cwnd: 11 });
    expect(run("tcp_reno_cong_avoid", { ...socket, is_cwnd_limited: 1 }, 0, 5)).toMatchObject({ cwnd: 12, count: 3 });
  });

  it("are those that the caller gives, who sees every call", () => {
    const vm = operation("cong_avoid", passOn("cubictcp_cong_avoid"), {
      functions: {
        cubictcp_cong_avoid: (objects, socket, _ack, acked) =>
          objects.write(socket, "tcp_sock.snd_cwnd", objects.read(socket, "tcp_sock.snd_cwnd") + acked),
      },
    });
    const socket = vm.objects.make("tcp_sock");
    const { calls } = vm.runOperation([socket, 500, 2]);
    expect(calls).toEqual([{ name: "cubictcp_cong_avoid", args: [socket, 500n, 2n] }]);
    expect(vm.objects.read(socket, "tcp_sock.snd_cwnd")).toBe(12n);
  });

  it("take only sockets that the program was called with", () => {
    const vm = operation("cong_avoid", [
      load(8, r1, r1, 0),
      loadField(8, r1, r1, "tcp_sock", "peer"),
      callKernel("tcp_reno_ssthresh"),
      exit(),
    ]);
    const peer = vm.objects.make("tcp_sock");
    expect(() => vm.runOperation([vm.objects.make("tcp_sock", { peer })])).toThrow(
      "nothing that the program was called with",
    );
  });

  it("are unknown when nobody gives them", () => {
    const vm = operation("cong_avoid", passOn("bbr_main"));
    expect(() => vm.runOperation([vm.objects.make("tcp_sock"), 0, 0])).toThrow("(call bbr_main)");
  });
});

describe("OperationsVm", () => {
  const write = [socketTo6, load(8, r7, r1, 8), storeField(4, r6, "tcp_sock", "snd_cwnd_cnt", r7), exit()];
  const read = [socketTo6, loadField(4, r0, r6, "tcp_sock", "snd_cwnd_cnt"), exit()];
  const { spec: set_state } = operation("set_state", write).program;
  const { spec: ssthresh } = operation("ssthresh", read).program;
  const vm = new OperationsVm({ set_state, ssthresh });

  it("calls programs on the same objects", () => {
    const socket = vm.objects.make("tcp_sock");
    vm.call("set_state", socket, 4);
    expect(vm.call("ssthresh", socket).returnValue).toBe(4);
  });

  it("says which operations there are", () => {
    expect(() => vm.call("cong_avoid")).toThrow("no operation cong_avoid, only set_state, ssthresh");
  });
});
