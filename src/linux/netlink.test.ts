import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseDiagMessage } from "./diag.ts";
import { parseFamily } from "./generic-netlink.ts";
import { concat, decodeAttributes, decodeMessages, encodeAttributes, encodeMessage, errorOf } from "./netlink.ts";
import { addressBytes, addressText, decodeSockaddr, encodeSockaddr } from "./sockaddr.ts";
import { parseTcpInfo } from "./tcp-info.ts";

const table = {
  small: [1, "u8"],
  word: [2, "u32"],
  order: [3, "be32"],
  wide: [4, "u64"],
  name: [5, "string"],
  raw: [6, "bytes"],
  nested: [7, { port: [1, "be16"], id: [2, "u16"] }],
} as const;

describe("decodeAttributes()", () => {
  test("is the inverse of encodeAttributes()", () => {
    const values = fc.record(
      {
        small: fc.nat(0xff),
        word: fc.nat(0xffff_ffff),
        order: fc.nat(0xffff_ffff),
        wide: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        name: fc.string({ unit: "grapheme-ascii" }),
        raw: fc.uint8Array({ maxLength: 40 }),
        nested: fc.record({ port: fc.nat(0xffff), id: fc.nat(0xffff) }),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(values, (value) => {
        expect(decodeAttributes(table, encodeAttributes(table, value))).toEqual(value);
      }),
    );
  });

  test("stops at a length that lies and skips payloads that are too short", () => {
    const good = encodeAttributes(table, { small: 7 });
    expect(decodeAttributes(table, concat([good, Uint8Array.of(200, 0, 2, 0, 1, 2, 3, 4)]))).toEqual({ small: 7 });
    expect(decodeAttributes(table, concat([good, Uint8Array.of(3, 0, 2, 0)]))).toEqual({ small: 7 });
    expect(decodeAttributes(table, Uint8Array.of(6, 0, 2, 0, 1, 2, 0, 0))).toEqual({});
  });

  test("survives any bytes", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => void decodeAttributes(table, bytes)));
  });
});

const message = (type: number, payload: Uint8Array) => ({ type, flags: 5, sequence: 9, payload });

describe("decodeMessages()", () => {
  test("reads all messages of a datagram and leaves out a truncated one", () => {
    const [first, second] = [message(16, Uint8Array.of(1, 2, 3)), message(17, Uint8Array.of(4, 5, 6, 7))];
    const bytes = concat([encodeMessage(first), encodeMessage(second)]);
    expect(decodeMessages(bytes)).toEqual([first, second]);
    expect(decodeMessages(bytes.subarray(0, bytes.length - 1))).toEqual([first]);
    expect(decodeMessages(Uint8Array.of(0, 0, 0, 0, ...new Uint8Array(12)))).toEqual([]);
  });
});

describe("parseDiagMessage()", () => {
  test("reads a subflow's addresses, TCP state and tokens", () => {
    const head = new Uint8Array(72);
    const data = new DataView(head.buffer);
    head.set([2, 1]);
    data.setUint16(4, 8080);
    data.setUint16(6, 40_000);
    head.set([10, 0, 1, 1], 8);
    head.set([10, 0, 1, 2], 24);
    data.setUint32(68, 77, true);
    const info = new Uint8Array(232);
    info[5] = 4;
    info[6] = 0xa7;
    new DataView(info.buffer).setUint32(68, 20_500, true);
    const ulp = {
      info: [2, "bytes"],
      ulp: [19, { name: [1, "string"], mptcp: [3, { remote: [1, "u32"], local: [2, "u32"], idRemote: [9, "u8"] }] }],
    } as const;
    const attributes = encodeAttributes(ulp, {
      info,
      ulp: { name: "mptcp", mptcp: { remote: 0xdead_beef, local: 5, idRemote: 2 } },
    });
    const parsed = parseDiagMessage({ type: 20, flags: 0, sequence: 1, payload: concat([head, attributes]) });
    expect(parsed).toMatchObject({
      state: "established",
      local: { address: "10.0.1.1", port: 8080 },
      remote: { address: "10.0.1.2", port: 40_000 },
      inode: 77,
      tcp: { rttUs: 20_500, sndWscale: 7, rcvWscale: 10, windowScaling: true },
      mptcp: { tokenRemote: 0xdead_beef, tokenLocal: 5, idRemote: 2, idLocal: 0 },
    });
  });

  test("survives truncation anywhere", () => {
    const payload = new Uint8Array(72).fill(1);
    payload[0] = 10;
    for (let length = 0; length < 72; length++) {
      const message = { type: 20, flags: 0, sequence: 1, payload: payload.subarray(0, length) };
      expect(parseDiagMessage(message)).toBeUndefined();
    }
    expect(parseDiagMessage({ type: 20, flags: 0, sequence: 1, payload })?.tcp).toBeUndefined();
  });
});

describe("parseTcpInfo()", () => {
  test("gives zero for what an older kernel does not know, and Infinity for no limit", () => {
    const bytes = new Uint8Array(120).fill(0xff, 112);
    expect(parseTcpInfo(bytes)).toMatchObject({ maxPacingRateBytesPerSecond: Infinity, bytesAcked: 0, sndWndBytes: 0 });
    expect(parseTcpInfo(new Uint8Array(0))).toMatchObject({ rttUs: 0, windowScaling: false });
  });
});

describe("addresses", () => {
  test.each([
    ["10.0.1.2", "10.0.1.2"],
    ["::", "::"],
    ["::1", "::1"],
    ["fd00:1::2", "fd00:1::2"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"],
    ["::ffff:10.0.1.2", "10.0.1.2"],
    ["fe80::", "fe80::"],
  ])("addressText() writes %s as %s", (text, short) => {
    expect(addressText(addressBytes(text))).toBe(short);
  });

  test("encodeSockaddr() is the inverse of decodeSockaddr()", () => {
    for (const address of ["192.0.2.7", "2001:db8::7"]) {
      expect(decodeSockaddr(encodeSockaddr({ address, port: 51_234 }))).toEqual({ address, port: 51_234 });
    }
    expect(() => encodeSockaddr({ address: "example.org", port: 1 })).toThrow(RangeError);
  });
});

describe("errorOf()", () => {
  const words = encodeAttributes({ message: [1, "string"] } as const, { message: "invalid token" });
  const header = encodeMessage({ type: 28, flags: 5, sequence: 1, payload: Uint8Array.of(1, 2, 3, 4, 5) });
  const code = new Uint8Array(Int32Array.of(-22).buffer);

  test("gives the kernel's words, whether it repeats the whole request, its header or, ending a dump, nothing", () => {
    const answers = [
      { type: 2, flags: 0x200, payload: concat([code, header, words]) },
      { type: 2, flags: 0x300, payload: concat([code, header.subarray(0, 16), words]) },
      { type: 3, flags: 0x202, payload: concat([code, words]) },
    ];
    for (const answer of answers)
      expect(errorOf({ sequence: 1, ...answer }, "request")).toMatchObject({
        code: "EINVAL",
        kernelMessage: "invalid token",
        message: "netlink failed: EINVAL (request: invalid token)",
      });
  });

  test("survives truncation anywhere, and is undefined for a success", () => {
    const payload = concat([code, header, words]);
    for (let length = 4; length < payload.length; length++) {
      const found = errorOf({ type: 2, flags: 0x200, sequence: 1, payload: payload.subarray(0, length) }, "request");
      expect(found).toMatchObject({ code: "EINVAL" });
    }
    expect(errorOf({ type: 2, flags: 0, sequence: 1, payload: new Uint8Array(20) }, "request")).toBeUndefined();
  });
});

test("parseFamily() reads a family's number, commands and groups, and survives truncation anywhere", () => {
  const list = { one: [1, "bytes"], two: [2, "bytes"] } as const;
  const numbered = { id: [1, "u32"] } as const;
  const named = { name: [1, "string"], id: [2, "u32"] } as const;
  const attributes = encodeAttributes(
    {
      id: [1, "u16"],
      name: [2, "string"],
      version: [3, "u32"],
      operations: [6, "bytes"],
      groups: [7, "bytes"],
    } as const,
    {
      id: 28,
      name: "mptcp_pm",
      version: 1,
      operations: encodeAttributes(list, {
        one: encodeAttributes(numbered, { id: 1 }),
        two: encodeAttributes(numbered, { id: 11 }),
      }),
      groups: encodeAttributes(list, {
        one: encodeAttributes(named, { name: "cmds", id: 8 }),
        two: encodeAttributes(named, { name: "events", id: 9 }),
      }),
    },
  );
  const payload = concat([Uint8Array.of(1, 2, 0, 0), attributes]);
  expect(parseFamily({ payload })).toEqual({
    name: "mptcp_pm",
    id: 28,
    version: 1,
    commands: new Set([1, 11]),
    groups: new Map([
      ["cmds", 8],
      ["events", 9],
    ]),
  });
  for (let length = 0; length < payload.length; length++)
    expect(parseFamily({ payload: payload.subarray(0, length) })?.id ?? 28).toBe(28);
});
