import { describe, expect, test } from "vitest";
import type { ConnectionState, SubflowState } from "../linux/connections.ts";
import { parseMptcpInfo } from "../linux/mptcp-info.ts";
import { parseTcpInfo } from "../linux/tcp-info.ts";
import { chooseId } from "./commands/paths-subflow.ts";
import { chooseConnection, chooseSubflow, connectionTable, parseToken } from "./paths-text.ts";

const remote = { address: "10.0.9.1", port: 443 };
const subflow = (address: string, port: number, more: Partial<SubflowState> = {}): SubflowState => ({
  local: { address, port },
  remote,
  localId: 0,
  remoteId: 0,
  state: "established",
  backup: false,
  first: false,
  opened: true,
  fullyEstablished: true,
  ...more,
});
const connection: ConnectionState = {
  token: 0xbeef,
  state: "established",
  local: { address: "10.0.1.1", port: 4000 },
  remote,
  serverSide: false,
  info: parseMptcpInfo(new Uint8Array(0)),
  subflows: [
    subflow("10.0.1.1", 4000, { first: true, tcp: parseTcpInfo(new Uint8Array(0)) }),
    subflow("10.0.2.1", 5000, { localId: 2, backup: true }),
    subflow("10.0.2.1", 6000, { localId: 2 }),
  ],
};

describe("chooseSubflow()", () => {
  test("takes as much of the ends as tells one from the others, from either side", () => {
    expect(chooseSubflow(connection, "10.0.1.1")).toBe(connection.subflows[0]);
    expect(chooseSubflow(connection, ":6000")).toBe(connection.subflows[2]);
    expect(chooseSubflow(connection, "10.0.2.1:5000,10.0.9.1:443")).toBe(connection.subflows[1]);
  });

  test("names those that are there where none or several are meant", () => {
    expect(() => chooseSubflow(connection, "10.0.7.1")).toThrow(/^No subflow .*10\.0\.1\.1:4000.*:5000.*:6000/);
    expect(() => chooseSubflow(connection, "10.0.2.1")).toThrow(
      /^More than one .*is 10\.0\.2\.1: there are 10\.0\.2\.1:5000/,
    );
    expect(() => chooseSubflow(connection, "wifi")).toThrow(/Cannot tell which addresses wifi means/);
  });
});

test("parseToken() and chooseConnection() take tokens as they are printed, and say where to find them", () => {
  expect(chooseConnection([connection], parseToken("0000beef"))).toBe(connection);
  expect(parseToken("0xBEEF")).toBe(0xbeef);
  expect(() => parseToken("10.0.0.1")).toThrow(/emptcp paths connections/);
  expect(() => chooseConnection([connection], 7)).toThrow("no connection 00000007; emptcp paths connections");
});

test("chooseId() keeps the id that an address has, and gives others a free one", () => {
  const known = [{ id: 1, address: "10.0.3.1" }];
  expect(chooseId(connection, known, { address: "10.0.1.1" })).toBe(0);
  expect(chooseId(connection, known, { address: "10.0.3.1" })).toBe(1);
  // The kernel takes an address with a port of its own for another address.
  expect(chooseId(connection, known, { address: "10.0.3.1", port: 5000 })).toBe(3);
  expect(chooseId(connection, [], { address: "10.0.4.1" })).toBe(1);
  // 0 cannot be announced.
  expect(chooseId(connection, known, { address: "10.0.1.1" }, 1)).toBe(3);
});

test("connectionTable() has a line for each connection and subflow, also for those that are all but gone", () => {
  const lines = connectionTable([connection], false).trimEnd().split("\n");
  expect(lines).toHaveLength(5);
  expect(lines[1]).toMatch(/^0000beef {2}as client +established/);
  expect(lines[3]).toMatch(/^ {2}10\.0\.2\.1:5000 > 10\.0\.9\.1:443 +established +2\/0 +backup +- +-/);
});
