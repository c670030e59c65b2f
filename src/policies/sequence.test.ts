import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { makeFrame, type PacketParts } from "../compiler/testing/packets.ts";
import { chain } from "../compiler/testing/policy-harness.ts";

function matches(of: "subflow" | "data", from: bigint, to: bigint, parts: PacketParts): boolean {
  const vm = chain({ select: ["sequence", { of, from, to }] }).vm();
  vm.run(makeFrame(parts));
  expect(vm.counters().seen).toBe(1);
  return vm.counters().matched[0] === 1;
}

/** The range walked from its start, as a person would count. */
function meet(first: bigint, length: bigint, from: bigint, to: bigint, bits: number): boolean {
  const last = BigInt.asUintN(bits, to - from);
  const ahead = BigInt.asUintN(bits, first - from);
  return ahead <= last || ahead + (length > 0n ? length - 1n : 0n) >= 1n << BigInt(bits);
}

/** A DSS option with a mapping; `ackBytes` of data ACK stand in front of it. */
function mapping(number: bigint, length: number, isLong: boolean, ackBytes: 0 | 4 | 8, cut = 0): PacketParts {
  const flags = (ackBytes > 0 ? 0x01 : 0) | (ackBytes === 8 ? 0x02 : 0) | 0x04 | (isLong ? 0x08 : 0);
  const size = 4 + ackBytes + (isLong ? 8 : 4) + 6 - cut;
  const bytes = new Uint8Array(size + cut);
  bytes.set([30, size, 0x20, flags]);
  const view = new DataView(bytes.buffer);
  const at = 4 + ackBytes;
  if (isLong) view.setBigUint64(at, number);
  else view.setUint32(at, Number(BigInt.asUintN(32, number)));
  view.setUint16(at + (isLong ? 12 : 8), length);
  const option = { kind: "unknown", bytes: bytes.subarray(0, size) } as const;
  const padding = Array.from({ length: (4 - (size % 4)) % 4 }, () => ({ kind: "nop" }) as const);
  return { options: [...padding, option], payload: 10 };
}

const near = (bits: number) =>
  fc
    .tuple(fc.constantFrom(0n, 1n << 31n, 1n << 32n, 1n << 63n), fc.bigInt(-40n, 40n))
    .map(([middle, by]) => BigInt.asUintN(bits, middle + by));

describe("sequence", () => {
  it("meets a segment's bytes where the subflow's numbers start again, and on either side", () => {
    const property = fc.property(
      near(32),
      fc.integer({ min: 0, max: 60 }),
      near(32),
      near(32),
      (first, size, from, to) => {
        const parts = { tcp: { sequence: Number(first) }, payload: size };
        expect(matches("subflow", from, to, parts)).toBe(meet(first, BigInt(size), from, to, 32));
      },
    );
    fc.assert(property, { numRuns: 30, seed: 1 });
  });

  it.each([
    ["SYN", 0x02],
    ["FIN", 0x11],
  ])("counts the number that a %s takes", (_, flags) => {
    const parts = { tcp: { sequence: 100, flags }, payload: 0 };
    expect([99n, 100n, 101n].map((number) => matches("subflow", number, number, parts))).toEqual([false, true, false]);
  });

  it("meets mappings in DSS options of all lengths", () => {
    const shape = fc.tuple(fc.boolean(), fc.constantFrom<0 | 4 | 8>(0, 4, 8));
    const property = fc.property(
      near(64),
      fc.integer({ min: 0, max: 60 }),
      near(64),
      fc.bigInt(0n, 80n),
      shape,
      (first, size, from, span, [isLong, ackBytes]) => {
        const to = BigInt.asUintN(64, from + span);
        const bits = isLong ? 64 : 32;
        const low = (value: bigint) => BigInt.asUintN(bits, value);
        const expected = meet(low(first), BigInt(size), low(from), low(to), bits);
        expect(matches("data", from, to, mapping(first, size, isLong, ackBytes))).toBe(expected);
      },
    );
    fc.assert(property, { numRuns: 50, seed: 2 });
  });

  it("takes the low half of a number for one of a range that is longer than it counts", () => {
    expect(matches("data", 0n, 1n << 40n, mapping(1n << 50n, 10, false, 4))).toBe(true);
    expect(matches("data", 0n, 1n << 40n, mapping(1n << 50n, 10, true, 4))).toBe(false);
  });

  it("matches no packet without a mapping, and none whose mapping is cut off", () => {
    const everything = [0n, (1n << 64n) - 1n] as const;
    expect(matches("data", ...everything, { payload: 10 })).toBe(false);
    const ack = { kind: "unknown", bytes: Uint8Array.of(30, 8, 0x20, 1, 0, 0, 0, 1) } as const;
    expect(matches("data", ...everything, { options: [ack] })).toBe(false);
    for (const [isLong, ackBytes] of [
      [false, 0],
      [true, 4],
      [true, 8],
    ] as const)
      // prettier-ignore
      expect(matches("data", ...everything, mapping(5n, 10, isLong, ackBytes, 2))).toBe(false);
  });
});
