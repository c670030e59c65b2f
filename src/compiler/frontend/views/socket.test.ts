import { describe, expect, it } from "vitest";
import type { InputRecord } from "../../../chain/inputs.ts";
import { chain } from "../../testing/policy-harness.ts";
import { policySource } from "../../testing/policy-source.ts";
import { diagnosticsOf, importEverything } from "../../testing/refusals.ts";

interface Written {
  readonly at?: string;
  readonly run: string;
  readonly release?: string;
  readonly inputs?: InputRecord;
}

/** An actor on sockets that writes to its state `out`. */
function text({ at, run, release }: Written): string {
  return `${importEverything}
export const test = socketActor({
  name: "test",
  params: { control: fallback(text(15), "cubic"), name: fallback(text(20), "a"), number: fallback(u32, 7) },
  state: { out: shared({ x: u32, y: u32, z: u32 }) },
  ${at ? `at: [${at}],` : ""}
  run(socket, params, { out }) { ${run} },
  ${release ? `release(socket, params, { out }) { ${release} },` : ""}
});`;
}

function chainOf(written: Written) {
  return chain({ source: policySource(text(written)), actors: [["test", written.inputs ?? {}]] });
}

/** BPF_SOCK_OPS_*_CB. */
const callback = { connect: 3, active: 4, passive: 5, rto: 8, retransmission: 9, state: 10, rtt: 12, headers: 13 };
const everyEvent = '"connect", "established", "rtt", "rto", "closed"';

function onCallbacks(written: Written) {
  const runner = chainOf(written).vm("sock_ops");
  const call = (op: number, fields = {}) =>
    runner.vms["sock_ops"].runSocket({ op, family: 2, localPort: 1, ...fields });
  const out = () => Object.values(runner.state()["0.out"][0].fields);
  return { runner, call, out };
}

function inWalk(written: Written, hook: "iter_tcp" | "iter_tcp_release" = "iter_tcp", fields = {}) {
  const runner = chainOf(written).vm(hook);
  const established = { "sock_common.skc_state": 1, "sock_common.skc_family": 2 };
  const socket = runner.objects.make("tcp_sock", { ...established, ...fields });
  const { socketOptions } = runner.vms[hook].runIteration(socket);
  return { socketOptions, out: Object.values(runner.state()["0.out"][0].fields), counters: runner.counters() };
}

const bytes = (name: string, size = 16): Uint8Array => {
  const padded = new Uint8Array(size);
  new TextEncoder().encodeInto(name, padded);
  return padded;
};

/** An actor that counts. */
const one = (name: string, at: string) =>
  `export const ${name} = socketActor({ name: "${name}", at: ["${at}"], state: { out: shared({ x: u32 }) }, run(s, _, { out }) { out.x += 1; } });`;

describe("socketActor() at", () => {
  it.each([
    ["", [callback.active, callback.passive]],
    ['"connect"', [callback.connect]],
    ['"rtt"', [callback.rtt]],
    ['"rto", "established"', [callback.active, callback.passive, callback.rto]],
  ])("[%s] runs for these callbacks, and no others", (at, operations) => {
    const { call, runner } = onCallbacks({ at, run: "out.x += 1;" });
    const ran = Object.values(callback).filter((op) => {
      const before = runner.counters().acted[0];
      expect(call(op).returnValue).toBe(1);
      return runner.counters().acted[0] > before;
    });
    expect(ran).toEqual(operations);
  });

  it("[closed] runs when the new state is that, and at no other change", () => {
    const { call, out } = onCallbacks({ at: '"closed"', run: "out.x += 1;" });
    for (const arg1 of [1, 4, 7, 8, 11]) call(callback.state, { arg0: 2, arg1 });
    expect(out()[0]).toBe(1n);
  });

  it("runs each of several actors at its own events", () => {
    const source = policySource(`${importEverything}${one("first", "rtt")}${one("second", "established")}`);
    const runner = chain({ source, actors: ["first", "second"] }).vm("sock_ops");
    for (const op of [4, 12, 12, 8, 12]) runner.vms["sock_ops"].runSocket({ op, family: 2 });
    expect(runner.counters().acted).toEqual([3, 1]);
  });

  it.each([
    ['"rtt"', 0x09, [callback.active, callback.passive]],
    ['"rto", "closed"', 0x05, [callback.connect, callback.active, callback.passive]],
  ])("[%s] asks the kernel for callbacks, keeping those that others asked for", (at, flags, operations) => {
    const { call } = onCallbacks({ at, run: "out.x += 1;" });
    const asked = Object.values(callback).filter((op) => Number(call(op, { cbFlags: 1 }).context.cbFlags) === flags);
    expect(asked).toEqual(operations);
  });

  it("asks for callbacks of sockets that run already", () => {
    const { socketOptions } = inWalk({ at: '"rtt"', run: "out.x += 1;" }, "iter_tcp", { bpf_sock_ops_cb_flags: 0x40 });
    expect(socketOptions).toEqual([{ level: 6, option: 1008, value: Uint8Array.of(0x48, 0, 0, 0) }]);
  });

  it("asks for nothing of sockets that the selectors do not match", () => {
    const source = policySource(text({ at: '"rtt"', run: "out.x += 1;" }));
    const select = ["port", { port: 443 }] as const;
    const vm = chain({ source, select, actors: ["test"] }).vm("sock_ops").vms["sock_ops"];
    expect(vm.runSocket({ op: 4, family: 2, localPort: 443 }).context.cbFlags).toBe(8n);
    expect(vm.runSocket({ op: 4, family: 2, localPort: 80 }).context.cbFlags).toBe(0n);
  });

  it("in a walk over sockets, runs actors at established and no others", () => {
    expect(inWalk({ run: "out.x += 1;" }).out[0]).toBe(1n);
    expect(inWalk({ at: '"connect", "rtt"', run: "out.x += 1;" }).out[0]).toBe(0n);
  });

  it.each(["", '"sometimes"'])("refuses [%s]", (at) => {
    const source = `${importEverything} export const test = socketActor({ name: "test", at: [${at}], run() {} });`;
    expect(() => policySource(source)).toThrow(/^Cannot define actor "test": it runs at/);
  });
});

describe("socket", () => {
  it("event says why the actor runs", () => {
    const run = `out.x = 0;
      if (socket.event === "connect") out.x = 1;
      if (socket.event === "established") out.x = 2;
      if (socket.event === "rtt") out.x = 3;
      if (socket.event === "rto") out.x = 4;
      if (socket.event === "closed") out.x = 5;`;
    const { call, out } = onCallbacks({ at: everyEvent, run });
    const said = [3, 4, 5, 12, 8, 10].map((op) => {
      call(op, { arg1: 7 });
      return Number(out()[0]);
    });
    expect(said).toEqual([1, 2, 2, 3, 4, 5]);
    expect(inWalk({ run }).out[0]).toBe(2n);
  });

  it("tells round-trip time and window, of callbacks and in walks", () => {
    const run = "out.x = socket.srttUs; out.y = socket.cwnd;";
    const { call, out } = onCallbacks({ at: '"rtt"', run });
    call(callback.rtt, { srttUs: 80_007, sndCwnd: 10 });
    expect(out().slice(0, 2)).toEqual([10_000n, 10n]);
    expect(inWalk({ run }, "iter_tcp", { srtt_us: 80_007, snd_cwnd: 11 }).out.slice(0, 2)).toEqual([10_000n, 11n]);
  });

  it("rtoCount counts the timeout that it is called for, and is 0 at other events", () => {
    const { call, out } = onCallbacks({ at: '"rto", "rtt"', run: "out.x = socket.rtoCount;" });
    const counts = [
      [callback.rto, 0],
      [callback.rto, 3],
      [callback.rtt, 5],
    ].map(([op, arg0]) => {
      call(op, { arg0 });
      return Number(out()[0]);
    });
    expect(counts).toEqual([1, 4, 0]);
  });

  it.each([
    ["cubic", "cubic"],
    ["a-name_of_15chr", "a-name_of_15chr"],
  ])("congestionControl takes a text parameter: %s", (control, name) => {
    const { call } = onCallbacks({ run: "socket.congestionControl = params.control;", inputs: { control } });
    expect(call(4).socketOptions).toEqual([{ level: 6, option: 13, value: bytes(name) }]);
  });

  it("takes the text parameter meant, with words of others around it", () => {
    const run = "socket.congestionControl = params.name; socket.mark = params.number;";
    const { call } = onCallbacks({ run, inputs: { control: "reno", name: "twenty-characters-ab", number: 9 } });
    expect(call(4).socketOptions).toEqual([
      { level: 6, option: 13, value: bytes("twenty-characters-ab", 24) },
      { level: 1, option: 36, value: Uint8Array.of(9, 0, 0, 0) },
    ]);
  });

  it("congestionControl takes a literal, mark and tos take numbers", () => {
    const run = 'socket.congestionControl = "reno"; socket.mark = 0x1_0002; socket.tos = 0xb8;';
    const v4 = onCallbacks({ run }).call(4);
    expect(v4.socketOptions).toEqual([
      { level: 6, option: 13, value: bytes("reno") },
      { level: 1, option: 36, value: Uint8Array.of(2, 0, 1, 0) },
      { level: 0, option: 1, value: Uint8Array.of(0xb8, 0, 0, 0) },
    ]);
    const v6 = onCallbacks({ run }).call(4, { family: 10, remoteIp6Word0: 0xfd });
    expect(v6.socketOptions.at(-1)).toEqual({ level: 41, option: 67, value: Uint8Array.of(0xb8, 0, 0, 0) });
  });

  it("caps the window, and sets timers", () => {
    const run =
      "socket.cwndMax = 9; socket.rtoMinUs = 20_000; socket.delayedAckMaxUs = 5000; socket.userTimeoutMs = 3000;";
    const told = ({ socketOptions }: Pick<ReturnType<typeof inWalk>, "socketOptions">) =>
      socketOptions.map(({ level, option, value }) => [level, option, new DataView(value.buffer).getUint32(0, true)]);
    expect(told(onCallbacks({ run }).call(4))).toEqual([
      [6, 1002, 9],
      [6, 1004, 20_000],
      [6, 1003, 5000],
      [6, 18, 3000],
    ]);
    expect(told(inWalk({ run }, "iter_tcp_release"))).toEqual([
      [6, 1002, 0x7fff_ffff],
      [6, 1004, 200_000],
      [6, 1003, 200_000],
      [6, 18, 0],
    ]);
  });

  it("release undoes in place of run, with what it sets", () => {
    const release = "out.y = 1; socket.mark = 5;";
    const walk = inWalk({ run: "out.x = 1; socket.mark = 1;", release }, "iter_tcp_release");
    expect(walk.out.slice(0, 2)).toEqual([0n, 1n]);
    expect(walk.socketOptions).toEqual([{ level: 1, option: 36, value: Uint8Array.of(5, 0, 0, 0) }]);
    expect(inWalk({ run: "out.x = 1;", release }).out.slice(0, 2)).toEqual([1n, 0n]);
  });

  it("without release, what was set is what sockets have by themselves", () => {
    const run = 'socket.congestionControl = "reno"; socket.mark = 3; socket.tos = 4; socket.maxPacingRate = 5;';
    expect(inWalk({ at: '"rtt"', run }, "iter_tcp_release").socketOptions).toEqual([
      { level: 1, option: 36, value: new Uint8Array(4) },
      { level: 0, option: 1, value: new Uint8Array(4) },
      { level: 1, option: 47, value: new Uint8Array(4).fill(255) },
    ]);
  });

  it.each([
    ["EM1062", 'socket.congestionControl = "no name";'],
    ["EM1062", 'socket.congestionControl = "sixteen-letters-";'],
    ["EM1009", 'if (socket.congestionControl === "reno") out.x = 1;'],
    ["EM1023", "socket.tos = params.control;"],
    ["EM1012", "socket.tos = params.number;"],
    ["EM1006", 'if (params.control === "reno") out.x = 1;'],
  ])("%s: %s", (code, run) => {
    expect(diagnosticsOf(text({ run }), "sock_ops").map((one) => one.code)).toContain(code);
  });
});
