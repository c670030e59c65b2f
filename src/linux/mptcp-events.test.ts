import { describe, expect, test } from "vitest";
import { parseMptcpDiagMessage } from "./diag.ts";
import { parseMptcpEvent } from "./mptcp-events.ts";
import { concat, encodeAttributes, type AttributeTable, type NetlinkMessage } from "./netlink.ts";

const generic = (command: number, table: AttributeTable, values: Record<string, unknown>): NetlinkMessage => ({
  type: 30,
  flags: 0,
  sequence: 0,
  payload: concat([Uint8Array.of(command, 1, 0, 0), encodeAttributes(table, values as never)]),
});

describe("parseMptcpEvent()", () => {
  const table = {
    token: [1, "u32"],
    family: [2, "u16"],
    localId: [3, "u8"],
    remoteId: [4, "u8"],
    saddr4: [5, "bytes"],
    daddr4: [7, "bytes"],
    daddr6: [8, "bytes"],
    sport: [9, "be16"],
    dport: [10, "be16"],
    backup: [11, "u8"],
    error: [12, "u8"],
    flags: [13, "u16"],
    ifIndex: [15, "u32"],
    reason: [16, "u32"],
    serverSide: [18, "u8"],
  } as const;

  test("reads a new subflow: its ends, ids, backup flag and interface", () => {
    const message = generic(10, table, {
      token: 0xdead_beef,
      family: 2,
      localId: 1,
      remoteId: 2,
      saddr4: Uint8Array.of(10, 0, 0, 1),
      daddr4: Uint8Array.of(10, 0, 0, 2),
      sport: 40_000,
      dport: 80,
      backup: 1,
      ifIndex: 3,
    });
    expect(parseMptcpEvent(message, 5)).toEqual({
      kind: "subflow_established",
      timeMs: 5,
      token: 0xdead_beef,
      local: { address: "10.0.0.1", port: 40_000 },
      remote: { address: "10.0.0.2", port: 80 },
      localId: 1,
      remoteId: 2,
      backup: true,
      interfaceIndex: 3,
    });
  });

  test("reads an announced IPv6 address without a port, flags of a connection, and why a subflow was reset", () => {
    const daddr6 = Uint8Array.of(0x20, 1, 0xd, 0xb8, ...new Uint8Array(11), 9);
    expect(parseMptcpEvent(generic(6, table, { token: 1, remoteId: 4, daddr6 }), 0)).toEqual({
      kind: "announced",
      timeMs: 0,
      token: 1,
      remoteId: 4,
      remote: { address: "2001:db8::9", port: 0 },
    });
    expect(parseMptcpEvent(generic(1, table, { token: 1, flags: 3 }), 0)).toMatchObject({
      kind: "created",
      serverSide: true,
      denyJoinId0: true,
    });
    expect(parseMptcpEvent(generic(2, table, { token: 1, serverSide: 0 }), 0)).toMatchObject({ serverSide: false });
    expect(parseMptcpEvent(generic(11, table, { error: 104, reason: 3 }), 0)).toMatchObject({
      error: 104,
      resetReason: 3,
    });
  });

  test("survives truncation anywhere, and passes over commands it does not know", () => {
    const { payload } = generic(10, table, { token: 7, saddr4: Uint8Array.of(1, 2, 3, 4), sport: 9 });
    for (let length = 0; length < payload.length; length++)
      expect(parseMptcpEvent({ payload: payload.subarray(0, length) }, 0)?.token ?? 7).toBe(7);
    expect(parseMptcpEvent(generic(99, table, { token: 7 }), 0)).toBeUndefined();
  });
});

test("parseMptcpDiagMessage() reads a connection's token and counters", () => {
  const head = new Uint8Array(72);
  head.set([2, 1]);
  const info = new Uint8Array(104);
  const data = new DataView(info.buffer);
  info[0] = 2;
  data.setUint32(12, 0xcafe, true);
  data.setBigUint64(56, 1234n, true);
  const attributes = encodeAttributes({ info: [2, "bytes"] } as const, { info });
  const message = { type: 20, flags: 0, sequence: 1, payload: concat([head, attributes]) };
  expect(parseMptcpDiagMessage(message)).toMatchObject({
    state: "established",
    fallback: false,
    info: { token: 0xcafe, bytesSent: 1234, extraSubflows: 2 },
  });
});
