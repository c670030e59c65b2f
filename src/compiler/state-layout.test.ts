import { describe, expect, it } from "vitest";
import {
  actor,
  bytes,
  claimable,
  flows,
  hostWide,
  perPacket,
  perSocket,
  selector,
  shared,
  slots,
  table,
  u16,
  u32,
  u64,
  u8,
} from "../policy/index.ts";
import { describeShape, layOutState, stateMap } from "./state-layout.ts";

const policy = (state: Parameters<typeof actor>[0]["state"]) => actor({ name: "one", state: state!, run() {} });
const offsets = (state: Parameters<typeof actor>[0]["state"]) => {
  const [slot] = layOutState([], [policy(state)]);
  return { size: slot.size, ...Object.fromEntries(slot.fields.map(({ name, offset }) => [name, offset])) };
};

describe("layOutState()", () => {
  it("aligns integers to their size, and bytes to 8 with room up to 8", () => {
    const fields = { a: u8, b: u32, c: u16, d: bytes(5), e: u8, f: u64 };
    expect(offsets({ flows: flows(fields) })).toEqual({ size: 40, a: 0, b: 4, c: 8, d: 16, e: 24, f: 32 });
  });

  it("begins claimable records with lock and flag, in maps that have locks", () => {
    const [slot] = layOutState([], [policy({ jobs: claimable(table(u16, { a: u8 }, 100)) })]);
    expect([slot.size, slot.fields[0].offset]).toEqual([16, 8]);
    expect(stateMap(slot)).toEqual({
      name: "em_jobs",
      type: "hash",
      keySize: 2,
      valueSize: 16,
      maxEntries: 100,
      spinLockAt: 0,
    });
  });

  it("keeps records of sockets in the kernel's own storage, and slots in an array that can be mapped", () => {
    const fields = { a: u8, b: u64 };
    const maps = layOutState([], [policy({ own: perSocket(fields), told: slots(fields, 9) })]).map(stateMap);
    expect(maps).toEqual([
      { name: "em_own", type: "skStorage", keySize: 4, valueSize: 16, maxEntries: 0, flags: 1 },
      { name: "em_told", type: "array", keySize: 4, valueSize: 16, maxEntries: 9, flags: 1024 },
    ]);
  });

  it("refuses what such records cannot be", () => {
    expect(() => hostWide("own", perSocket({ a: u8 }))).toThrow("policy's own");
    expect(() => claimable(slots({ a: u8 }, 2) as never)).toThrow("Cannot make slots claimable");
    expect(() => slots({ a: u8 }, 0)).toThrow(RangeError);
  });

  it("shares slots on the host only where there are as many of them", () => {
    const one = policy({ told: hostWide("told", slots({ a: u8 }, 4)) });
    const other = policy({ told: hostWide("told", slots({ a: u8 }, 5)) });
    expect(() => layOutState([], [one, other])).toThrow("at most 5");
  });

  it("gives one memory to what policies declare together, by whatever name", () => {
    const connections = flows({ token: u32 });
    const learn = selector({ name: "learn", state: { connections }, run: () => true });
    const use = actor({ name: "use", state: { known: connections, own: shared({ a: u8 }) }, run() {} });
    const slots = layOutState([learn], [use, use]);
    expect(
      slots.map(({ map, owners }) => [map, owners.map(({ kind, index, name }) => `${kind} ${index} ${name}`)]),
    ).toEqual([
      ["learnt0_connections", ["selector 0 connections", "actor 0 known", "actor 1 known"]],
      ["state0_own", ["actor 0 own"]],
      ["state1_own", ["actor 1 own"]],
    ]);
  });

  it("finds host-wide state by its name, and refuses two that are not alike", () => {
    const [one, same, other] = [{ a: u32 }, { a: u32 }, { a: u64 }].map((fields) =>
      policy({ state: hostWide("counts", shared(fields)) }),
    );
    expect(layOutState([], [one, same]).map(({ map, owners }) => [map, owners.length])).toEqual([["host_counts", 2]]);
    expect(() => layOutState([], [one, other])).toThrow(
      'Cannot share state "counts" on the host: this chain declares it twice, and not alike (shared: a u32 @0; shared: a u64 @0)',
    );
  });

  it("needs no map for what lasts for one packet", () => {
    const [slot] = layOutState([], [policy({ verdicts: perPacket({ a: u32 }) })]);
    expect(stateMap(slot)).toBeUndefined();
  });
});

describe("describeShape()", () => {
  it("says all that two chains must agree on", () => {
    const [slot] = layOutState([], [policy({ kept: claimable(table(u16, { a: u8, b: bytes(40) }, 5)) })]);
    expect(describeShape(slot)).toBe("claimable table of u16, at most 5: a u8 @8, b bytes(40) @16");
  });
});
