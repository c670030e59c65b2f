import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fromHex, toHex } from "../bytes.ts";
import { WireError } from "../errors.ts";
import { mptcpOption } from "../testing.ts";
import { emitMptcpOption, parseMptcpOption } from "./codec.ts";
import { mptcpForms } from "./forms.ts";
import type { MptcpOption } from "./options.ts";

const keyA = 0x0102030405060708n;
const keyB = 0x1112131415161718n;
const hexA = "0102030405060708";
const hexB = "1112131415161718";
const address4 = Uint8Array.of(10, 0, 0, 1);
const address6 = fromHex("20010db8000000000000000000000001");
const mapping = { subflowSequence: 5, dataLength: 100 };

const capable0 = {
  kind: "mpCapable",
  version: 0,
  checksumRequired: true,
  extensibility: false,
  denyJoinId0: false,
  hmac: true,
} as const;
const capable1 = { ...capable0, version: 1, checksumRequired: false, denyJoinId0: true } as const;
const add0 = { kind: "addAddr", version: 0, echo: false, addressId: 7 } as const;
const add1 = { ...add0, version: 1 } as const;

/** Written from the figures of RFC 8684 §3 and RFC 6824 §3, byte by byte. */
const known: readonly (readonly [name: string, hex: string, option: MptcpOption])[] = [
  ["MP_CAPABLE v0 SYN", `1e0c0081${hexA}`, { ...capable0, senderKey: keyA }],
  ["MP_CAPABLE v0 ACK", `1e140081${hexA}${hexB}`, { ...capable0, senderKey: keyA, receiverKey: keyB }],
  ["MP_CAPABLE v1 SYN", "1e040121", capable1],
  ["MP_CAPABLE v1 SYN/ACK", `1e0c0121${hexA}`, { ...capable1, senderKey: keyA }],
  ["MP_CAPABLE v1 ACK", `1e140121${hexA}${hexB}`, { ...capable1, senderKey: keyA, receiverKey: keyB }],
  [
    "MP_CAPABLE v1 with data",
    `1e160121${hexA}${hexB}0064`,
    { ...capable1, senderKey: keyA, receiverKey: keyB, dataLength: 100 },
  ],
  [
    "MP_CAPABLE v1 with data and checksum",
    `1e180121${hexA}${hexB}0064abcd`,
    { ...capable1, senderKey: keyA, receiverKey: keyB, dataLength: 100, checksum: 0xabcd },
  ],
  [
    "MP_JOIN SYN",
    "1e0c1103 deadbeef 01020304",
    { kind: "mpJoinSyn", backup: true, addressId: 3, token: 0xdeadbeef, nonce: 0x01020304 },
  ],
  [
    "MP_JOIN SYN/ACK",
    `1e101003${hexA}01020304`,
    { kind: "mpJoinSynAck", backup: false, addressId: 3, hmac: keyA, nonce: 0x01020304 },
  ],
  ["MP_JOIN ACK", `1e181000${"ab".repeat(20)}`, { kind: "mpJoinAck", hmac: new Uint8Array(20).fill(0xab) }],
  ["DSS with a 4-byte ACK", "1e082001 00000009", { kind: "dss", dataFin: false, dataAck32: 9 }],
  ["DSS with an 8-byte ACK", `1e0c2003${hexA}`, { kind: "dss", dataFin: false, dataAck64: keyA }],
  [
    "DSS with 4-byte ACK and sequence number",
    "1e122005 00000009 0000000a 00000005 0064",
    { kind: "dss", dataFin: false, dataAck32: 9, dataSequence32: 10, ...mapping },
  ],
  [
    "DSS with 8-byte ACK and sequence number, checksum and DATA_FIN",
    `1e1c201f${hexA}${hexB}00000005 0064 abcd`,
    { kind: "dss", dataFin: true, dataAck64: keyA, dataSequence64: keyB, ...mapping, checksum: 0xabcd },
  ],
  [
    "DSS with an 8-byte sequence number alone",
    `1e12200c${hexB}00000005 0064`,
    { kind: "dss", dataFin: false, dataSequence64: keyB, ...mapping },
  ],
  ["ADD_ADDR v0, IPv4", "1e083407 0a000001", { ...add0, address: address4 }],
  ["ADD_ADDR v0, IPv4 and port", "1e0a3407 0a000001 1389", { ...add0, address: address4, port: 5001 }],
  ["ADD_ADDR v0, IPv6", `1e143607${toHex(address6)}`, { ...add0, address: address6 }],
  ["ADD_ADDR v0, IPv6 and port", `1e163607${toHex(address6)}1389`, { ...add0, address: address6, port: 5001 }],
  ["ADD_ADDR v1, IPv4", `1e103007 0a000001${hexA}`, { ...add1, address: address4, hmac: keyA }],
  [
    "ADD_ADDR v1, IPv4 and port",
    `1e123007 0a000001 1389${hexA}`,
    { ...add1, address: address4, port: 5001, hmac: keyA },
  ],
  ["ADD_ADDR v1, IPv6", `1e1c3007${toHex(address6)}${hexA}`, { ...add1, address: address6, hmac: keyA }],
  [
    "ADD_ADDR v1, IPv6 and port",
    `1e1e3007${toHex(address6)}1389${hexA}`,
    { ...add1, address: address6, port: 5001, hmac: keyA },
  ],
  ["ADD_ADDR v1 echo, IPv4", "1e083107 0a000001", { ...add1, echo: true, address: address4 }],
  [
    "ADD_ADDR v1 echo, IPv6 and port",
    `1e163107${toHex(address6)}1389`,
    { ...add1, echo: true, address: address6, port: 5001 },
  ],
  ["REMOVE_ADDR of three addresses", "1e0640010203", { kind: "removeAddr", addressIds: Uint8Array.of(1, 2, 3) }],
  ["MP_PRIO", "1e0351", { kind: "mpPrio", backup: true }],
  ["MP_PRIO v0 with an address", "1e045007", { kind: "mpPrio", backup: false, addressId: 7 }],
  ["MP_FAIL", `1e0c6000${hexA}`, { kind: "mpFail", dataSequence: keyA }],
  ["MP_FASTCLOSE", `1e0c7000${hexA}`, { kind: "mpFastclose", receiverKey: keyA }],
  ["MP_TCPRST", "1e048106", { kind: "mpTcpRst", transient: true, reason: 6 }],
  ["a subtype unknown here", "1e05f00102", { kind: "mptcpUnknown", bytes: fromHex("1e05f00102") }],
  ["MP_CAPABLE of a later version", "1e040281", { kind: "mptcpUnknown", bytes: fromHex("1e040281") }],
];

describe("parseMptcpOption() and emitMptcpOption()", () => {
  test.each(known)(
    "parseMptcpOption() reads %s as the RFC draws it, and emitMptcpOption() writes it",
    (_, hex, option) => {
      const bytes = fromHex(hex);
      expect(bytes[1]).toBe(bytes.length);
      expect(parseMptcpOption(bytes)).toEqual(option);
      expect(emitMptcpOption(option)).toEqual(bytes);
    },
  );

  test("parseMptcpOption() gives back every option that emitMptcpOption() wrote", () => {
    fc.assert(
      fc.property(mptcpOption(), (option) => {
        expect(parseMptcpOption(emitMptcpOption(option))).toEqual(option);
      }),
      { numRuns: 2000 },
    );
  });

  test("emitMptcpOption() gives back all bytes that parseMptcpOption() accepts", () => {
    const sizes = [...new Set(mptcpForms.map(({ layout }) => layout.size))];
    const bytes = fc
      .constantFrom(...sizes)
      .chain((size) => fc.uint8Array({ minLength: size, maxLength: size }))
      .map((body) => Uint8Array.of(30, body.length + 2, ...body));
    fc.assert(
      fc.property(bytes, (bytes) => {
        const option = parseMptcpOption(bytes);
        if (typeof option !== "string") expect(emitMptcpOption(option)).toEqual(bytes);
      }),
      { numRuns: 5000 },
    );
  });

  test("parseMptcpOption() never finds two forms for the same bytes", () => {
    fc.assert(
      fc.property(mptcpOption(), (option) => {
        const bytes = emitMptcpOption(option);
        const fitting = mptcpForms.filter(({ layout }) => layout.size === bytes.length - 2 && layout.matches(bytes, 2));
        expect(fitting.length).toBeLessThanOrEqual(1);
      }),
      { numRuns: 2000 },
    );
  });

  test("parseMptcpOption() refuses forms of the other version where the version is known", () => {
    const bytes = fromHex("1e083407 0a000001");
    expect(parseMptcpOption(bytes, 0)).toMatchObject({ kind: "addAddr", version: 0 });
    expect(parseMptcpOption(bytes, 1)).toMatch("ADD_ADDR has no form of 8 bytes that starts with 0x34 in version 1");
    expect(parseMptcpOption(fromHex("1e048106"), 0)).toMatch("MP_TCPRST has no form");
  });

  test.each([
    ["an MPTCP option without a subtype", "1e02"],
    ["MP_JOIN of 13 bytes", "1e0d1003000000000000000000"],
    ["MP_CAPABLE v0 of 4 bytes", "1e040081"],
    ["DSS whose flags ask for more than it has", "1e042001"],
    ["REMOVE_ADDR without an address", "1e0340"],
  ])("parseMptcpOption() gives a reason for %s", (_, hex) => {
    expect(typeof parseMptcpOption(fromHex(hex))).toBe("string");
  });

  test.each<[string, MptcpOption]>([
    ["a mapping without a length", { kind: "dss", dataFin: false, dataSequence32: 1, subflowSequence: 1 }],
    ["two acknowledgments", { kind: "dss", dataFin: false, dataAck32: 1, dataAck64: 1n }],
    ["an ADD_ADDR v1 without HMAC", { ...add1, address: address4 }],
    ["an address of five bytes", { ...add0, address: new Uint8Array(5) }],
    ["a token of 33 bits", { kind: "mpJoinSyn", backup: false, addressId: 1, token: 2 ** 32, nonce: 0 }],
    ["a negative key", { kind: "mpFastclose", receiverKey: -1n }],
  ])("emitMptcpOption() refuses %s", (_, option) => {
    expect(() => emitMptcpOption(option)).toThrow(WireError);
  });
});
