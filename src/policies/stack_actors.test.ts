import { describe, expect, it } from "vitest";
import { chain, type Use } from "../compiler/testing/policy-harness.ts";

/** BPF_SOCK_OPS_*_CB. */
const callback = { active: 4, passive: 5, rto: 8, state: 10, rtt: 12 };
const TCP_CLOSE = 7;
const socket = { family: 2, localPort: 443, localIp4: 0x0100_000a, remoteIp4: 0x0200_000a, remotePort: 0x8913_0000 };

function onSockets(use: Use) {
  const runner = chain({ actors: [use] }).vm("sock_ops");
  const call = (op: number, fields = {}) => runner.vms["sock_ops"].runSocket({ op, ...socket, ...fields });
  const close = () => call(callback.state, { arg0: 1, arg1: TCP_CLOSE });
  const records = () => runner.state()["0.strategies"].map(({ fields }) => fields);
  return { runner, call, close, records };
}

const named = (name: string) => ({ level: 6, option: 13, value: expect.objectContaining(bytesOf(name)) });
const bytesOf = (name: string) => Object.fromEntries([...new TextEncoder().encode(name)].map((byte, i) => [i, byte]));

describe("actors that choose congestion control in the stack", () => {
  const nothing = { kind: 0n, algorithm: 0n, weight: 0n, windowBytes: 0n, rateBytesPerSecond: 0n, creditBytes: 0n };
  it.each<[Use, Record<string, bigint>]>([
    [["stack_window", { window: 30_000 }], { kind: 1n, windowBytes: 30_000n }],
    [["stack_rate", { rate: "8mbit" }], { kind: 2n, rateBytesPerSecond: 1_000_000n }],
    ["stack_credit", { kind: 3n }],
    [["stack_weight", { weight: 70 }], { kind: 4n, weight: 70n }],
    [["stack_coupled", { algorithm: "lia" }], { kind: 5n, algorithm: 1n }],
    [["stack_coupled", { algorithm: "olia" }], { kind: 5n, algorithm: 2n }],
    [["stack_coupled", { algorithm: "balia" }], { kind: 5n, algorithm: 3n }],
    [["stack_coupled", { algorithm: "wvegas" }], { kind: 5n, algorithm: 4n }],
  ])("%j give the subflow its strategy and the congestion control, until it is closed", (use, fields) => {
    for (const op of [callback.active, callback.passive]) {
      const { call, close, records } = onSockets(use);
      expect(call(op).socketOptions).toEqual([named("emptcp")]);
      expect(records()).toEqual([{ ...nothing, ...fields, rttUs: 0n, unpaced: 0n }]);
      expect(close().socketOptions).toEqual([]);
      expect(records()).toEqual([]);
    }
  });

  it("use the name that it is registered under", () => {
    const { call } = onSockets(["stack_weight", { weight: 1, control: "mine" }]);
    expect(call(callback.active).socketOptions).toEqual([named("mine")]);
  });

  it("replace what a subflow was told before, but not its credits", () => {
    const { runner, call, records } = onSockets("stack_credit");
    call(callback.active);
    runner.changeState(() => ({ kind: 2n, rateBytesPerSecond: 5n, creditBytes: 9n }));
    call(callback.active);
    expect(records()).toMatchObject([{ kind: 3n, rateBytesPerSecond: 0n, creditBytes: 9n }]);
  });
});

const limits = (result: { socketOptions: readonly { option: number; value: Uint8Array }[] }): number[] =>
  result.socketOptions
    .filter(({ option }) => option === 47)
    .map(({ value }) => new DataView(value.buffer, value.byteOffset).getUint32(0, true));

describe("follow_strategies", () => {
  it("paces by strategies of the kind rate, sets each once, and lifts the limit when they go", () => {
    const { runner, call, close, records } = onSockets("follow_strategies");
    expect(limits(call(callback.passive))).toEqual([]);
    const tell = (fields: Record<string, bigint>) =>
      runner.changeState((name) => (name === "0.strategies" ? fields : {}));
    tell({ kind: 2n, rateBytesPerSecond: 1_000_000n });
    expect(limits(call(callback.rtt))).toEqual([1_000_000]);
    expect(limits(call(callback.rtt))).toEqual([]);
    tell({ rateBytesPerSecond: 2_000_000n });
    expect(limits(call(callback.rto))).toEqual([2_000_000]);
    const odd: Record<string, bigint>[] = [{ rateBytesPerSecond: 0n }, { kind: 9n }, { kind: 1n, windowBytes: 1n }];
    for (const nonsense of odd) {
      tell({ kind: 2n, rateBytesPerSecond: 1_000_000n });
      call(callback.rtt);
      tell(nonsense);
      expect(limits(call(callback.rtt))).toEqual([0xffff_ffff]);
    }
    close();
    expect(records()).toEqual([]);
  });

  it("paces no faster than a limit of 32 bits can say", () => {
    const { runner, call } = onSockets("follow_strategies");
    call(callback.active);
    runner.changeState(() => ({ kind: 2n, rateBytesPerSecond: 1n << 40n }));
    expect(limits(call(callback.rtt))).toEqual([0xffff_fffe]);
  });
});
