import { describe, expect, it } from "vitest";
import type { KernelFunction } from "../bpf/vm/index.ts";
import { CompileError } from "./index.ts";
import { compileScheduling, StackInVm } from "./testing/in-stack.ts";

// Kernels with schedulers of programs are not at hand: these run in the VM, and find what they name when they are loaded.

const text = (operations: string, state = ""): string => `
  import { cannot, perSocket, schedule, scheduler, u32, u64, type Connection } from "emptcp/policy";
  export const tested = scheduler({ name: "tested", ${state} ${operations} });`;

/** The kernel's functions for schedulers, and the sockets that were chosen. */
function functions(chosen: bigint[]): Record<string, KernelFunction> {
  return {
    bpf_mptcp_subflow_ctx: (objects, socket) => objects.read(socket, "inet_connection_sock.icsk_ulp_data"),
    mptcp_subflow_set_scheduled(objects, context, scheduled) {
      expect(scheduled).toBe(1n);
      chosen.push(objects.read(context, "mptcp_subflow_context.tcp_sock"));
    },
  };
}

/** EINVAL, as an int. */
const none = 2 ** 32 - 22;

function run(operations: string, state = "") {
  const chosen: bigint[] = [];
  const vm = new StackInVm(compileScheduling(text(operations, state)), functions(chosen));
  /** Which of the sockets get what is sent next, and what the kernel is told. */
  const ask = (connection: bigint, sockets: readonly bigint[]) => {
    chosen.length = 0;
    const { returnValue } = vm.run("get_send", connection);
    return { returnValue, chosen: chosen.map((socket) => sockets.indexOf(socket)) };
  };
  return { vm, ask };
}

const leastQueued = `getSend(connection) {
  let least: u64 = 0xffff_ffff_ffff;
  let best: u32 = 0;
  for (const one of connection.subflows) {
    const wait = (u64(one.queuedBytes) << 16) / one.pacingRate;
    if (one.inFlight >= one.cwnd || wait >= least) continue;
    least = wait;
    best = one.id;
  }
  for (const one of connection.subflows) if (one.id === best) schedule(one);
},`;

/** Fields of a subflow that has so much to send and so many packets under way. */
const subflow = (queued: number, rate: number, inFlight = 0) => ({
  "sock.sk_wmem_queued": queued,
  "sock.sk_pacing_rate": rate,
  packets_out: inFlight,
});

describe("compileScheduler()", () => {
  it("makes a program of each operation that is defined, for the kernel's structure", () => {
    const { structOps, programs } = compileScheduling(text("getSend(connection) {}, init(connection) {},"));
    expect(structOps).toEqual({
      struct: "mptcp_sched_ops",
      operations: { init: "init", get_send: "get_send" },
      values: { name: "emptcp_test" },
    });
    expect(programs["get_send"].operation).toEqual({ struct: "mptcp_sched_ops", member: "get_send" });
  });

  it("chooses one subflow by what it sees of all", () => {
    const { vm, ask } = run(leastQueued);
    const { sockets, connection } = vm.connection([subflow(3000, 1000), subflow(3000, 2000), subflow(0, 100, 10)]);
    expect(ask(connection, sockets)).toEqual({ returnValue: 0, chosen: [1] });
    vm.objects.write(sockets[1], "tcp_sock.packets_out", 10);
    expect(ask(connection, sockets)).toEqual({ returnValue: 0, chosen: [0] });
    vm.objects.write(sockets[0], "tcp_sock.packets_out", 10);
    // All windows are full.
    expect(ask(connection, sockets)).toEqual({ returnValue: none, chosen: [] });
  });

  it("sends on several subflows at once", () => {
    const { vm, ask } = run("getSend(connection) { for (const one of connection.subflows) schedule(one); },");
    const { sockets, connection } = vm.connection([{}, {}, {}]);
    expect(ask(connection, sockets)).toEqual({ returnValue: 0, chosen: [0, 1, 2] });
  });

  it("remembers with the connection which subflow was the last", () => {
    const { vm, ask } = run(
      `init(connection, { own }) { own.getOrCreate(connection); },
      getSend(connection, { own }) {
        const mine = own.get(connection);
        if (mine === undefined) return cannot("no_memory");
        const last = mine.last;
        mine.last = 0;
        for (const one of connection.subflows)
          if (mine.last === 0 && one.id > last) { schedule(one); mine.last = one.id; }
        if (mine.last !== 0) return;
        for (const one of connection.subflows)
          if (mine.last === 0) { schedule(one); mine.last = one.id; }
      },`,
      "state: { own: perSocket({ last: u32 }) },",
    );
    const { sockets, connection } = vm.connection([{}, {}, {}]);
    expect(ask(connection, sockets)).toEqual({ returnValue: none, chosen: [] });
    vm.run("init", connection);
    const turns = Array.from({ length: 5 }, () => ask(connection, sockets).chosen);
    expect(turns).toEqual([[0], [1], [2], [0], [1]]);
  });

  it.each([
    ["EM1010", "init(connection) { for (const one of connection.subflows) schedule(one); }, getSend() {},"],
    ["EM1074", "getSend(connection) { schedule(connection as never); },"],
    ["EM1070", "getSend() {}, getNext() {},"],
    ["EM1023", "getSend(connection) { for (const one of connection.subflows) one.cwnd = 1; },"],
  ])("refuses with %s: %s", (code, operations) => {
    const compile = () => compileScheduling(text(operations));
    expect(compile).toThrow(CompileError);
    expect(compile).toThrow(code);
  });
});
