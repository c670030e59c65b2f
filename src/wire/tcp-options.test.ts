import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fromHex } from "./bytes.ts";
import { WireError } from "./errors.ts";
import { emitTcpOption, emitTcpOptions, isMptcpOption, parseTcpOptions, type TcpOption } from "./tcp-options.ts";
import { mptcpOption, plainTcpOption, tcpOptions } from "./testing.ts";

describe("parseTcpOptions() and emitTcpOptions()", () => {
  test("parseTcpOptions() gives back every list that emitTcpOptions() wrote", () => {
    fc.assert(
      fc.property(tcpOptions(), (options) => {
        expect(parseTcpOptions(emitTcpOptions(options))).toEqual(options);
      }),
      { numRuns: 1000 },
    );
  });

  test("emitTcpOptions() gives back any bytes whatever that parseTcpOptions() was given", () => {
    // Small values are likely kinds and lengths.
    const byte = fc.oneof(fc.integer({ min: 0, max: 12 }), fc.constant(30), fc.integer({ min: 0, max: 255 }));
    const words = fc.integer({ min: 0, max: 10 });
    const bytes = words.chain((count) => fc.array(byte, { minLength: count * 4, maxLength: count * 4 }));
    fc.assert(
      fc.property(bytes, (bytes) => {
        expect([...emitTcpOptions(parseTcpOptions(Uint8Array.from(bytes)))]).toEqual(bytes);
      }),
      { numRuns: 5000 },
    );
  });

  test("parseTcpOptions() reads the options of a SYN", () => {
    expect(parseTcpOptions(fromHex("0204 05b4 0402 080a 00000001 00000000 01 0303 0a"))).toEqual([
      { kind: "maximumSegmentSize", bytes: 1460 },
      { kind: "sackPermitted" },
      { kind: "timestamps", value: 1, echoReply: 0 },
      { kind: "nop" },
      { kind: "windowScale", shift: 10 },
    ]);
  });

  test("parseTcpOptions() reads SACK blocks", () => {
    expect(parseTcpOptions(fromHex("0101 0512 00000001 00000002 fffffff0 00000010"))).toEqual([
      { kind: "nop" },
      { kind: "nop" },
      {
        kind: "sack",
        blocks: [
          { left: 1, right: 2 },
          { left: 0xfffffff0, right: 0x10 },
        ],
      },
    ]);
  });

  test.each([
    ["a zero-length option", "01 1e00 00"],
    ["an option of length one", "01 1e01 00"],
    ["an option longer than what is left", "01 1e04 00"],
    ["a last byte that wants a length", "0101 01 1e"],
  ])("parseTcpOptions() keeps everything from %s on as one malformed option", (_, hex) => {
    const bytes = fromHex(hex);
    const options = parseTcpOptions(bytes);
    expect(options.at(-1)?.kind).toBe("malformed");
    expect(emitTcpOptions(options)).toEqual(bytes);
  });

  test("parseTcpOptions() goes on after an option whose length is only wrong for its kind", () => {
    expect(parseTcpOptions(fromHex("0203 05 0303 0a 0101"))).toEqual([
      { kind: "malformed", reason: "maximumSegmentSize takes 4 bytes, not 3", bytes: fromHex("020305") },
      { kind: "windowScale", shift: 10 },
      { kind: "nop" },
      { kind: "nop" },
    ]);
  });

  test("parseTcpOptions() reads nothing behind an end of list", () => {
    const bytes = fromHex("01 00 1e03 51 000000");
    expect(parseTcpOptions(bytes)).toEqual([{ kind: "nop" }, { kind: "endOfList", padding: bytes.slice(2) }]);
  });

  test("emitTcpOptions() fills up to whole words with an end of list", () => {
    expect(emitTcpOptions([{ kind: "windowScale", shift: 7 }])).toEqual(fromHex("0303 07 00"));
  });

  test("emitTcpOptions() refuses more than 40 bytes", () => {
    const key = { kind: "mpFastclose", receiverKey: 1n } as const;
    expect(() => emitTcpOptions([key, key, key, key])).toThrow(WireError);
  });

  test("emitTcpOption() refuses a value that does not fit", () => {
    expect(() => emitTcpOption({ kind: "windowScale", shift: 256 })).toThrow(WireError);
    expect(() => emitTcpOption({ kind: "sack", blocks: [{ left: -1, right: 0 }] })).toThrow(WireError);
  });
});

test("isMptcpOption() holds for all options of kind 30 that parse, and for no others", () => {
  fc.assert(
    fc.property(fc.oneof<fc.Arbitrary<TcpOption>[]>(mptcpOption(), plainTcpOption()), (option) => {
      expect(isMptcpOption(option)).toBe(emitTcpOption(option)[0] === 30);
    }),
  );
});
