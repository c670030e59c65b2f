import { describe, expect, test } from "vitest";
import type { SeenPacket } from "../../linux/capture.ts";
import { mptcpToken, TcpFlag, type TcpOption } from "../../wire/index.ts";
import { tcpFrame } from "../testing/frames.ts";
import { JoinCollector } from "./join-packets.ts";

const [client, second, server] = ["10.0.1.1", "10.0.2.1", "10.0.1.2"];

interface Sent {
  readonly atUs: number;
  readonly port: number;
  readonly flags: number;
  readonly option?: TcpOption;
  readonly sequence?: number;
  readonly from?: string;
}

function packet({ atUs, port, flags, option, sequence = 7, from = client }: Sent): SeenPacket {
  const leaves = from !== server;
  const bytes = tcpFrame({
    source: from,
    destination: leaves ? server : client,
    sourcePort: leaves ? port : 80,
    destinationPort: leaves ? 80 : port,
    sequence,
    flags,
    options: option ? [option] : [],
  });
  return {
    bytes,
    link: "ethernet",
    direction: leaves ? "egress" : "ingress",
    timestampNs: BigInt(atUs) * 1000n,
    originalLength: bytes.length,
  };
}

const capable = {
  kind: "mpCapable",
  version: 1,
  checksumRequired: false,
  extensibility: false,
  denyJoinId0: false,
  hmac: true,
  reserved: 0,
} as const;
const keys = (receiverKey: bigint): TcpOption => ({ ...capable, senderKey: 1n, receiverKey });
const joins = (key: bigint): TcpOption => ({
  kind: "mpJoinSyn",
  backup: false,
  addressId: 1,
  token: mptcpToken(key, 1),
  nonce: 3,
  reserved: 0,
});
const syn = (atUs: number, port: number, sequence = 7): Sent => ({
  atUs,
  port,
  sequence,
  flags: TcpFlag.syn,
  option: capable,
});
const third = (atUs: number, port: number, key: bigint): Sent => ({
  atUs,
  port,
  flags: TcpFlag.ack,
  option: keys(key),
});
const answer = (atUs: number, port: number): Sent => ({ atUs, port, flags: TcpFlag.ack, from: server });
const join = (atUs: number, key: bigint): Sent => ({
  atUs,
  port: 9999,
  flags: TcpFlag.syn,
  option: joins(key),
  from: second,
});

function collect(...sent: readonly Sent[]) {
  const collector = new JoinCollector();
  for (const one of sent) collector.take(packet(one));
  return collector.result();
}

describe("JoinCollector", () => {
  test("tells connections apart by the keys of their handshakes, also where they overlap", () => {
    const overlapping = [
      syn(0, 1),
      third(100, 1, 11n),
      syn(110, 2),
      third(200, 2, 12n),
      answer(210, 2),
      answer(230, 1),
    ];
    expect(collect(...overlapping, join(300, 12n), join(500, 11n))).toEqual({
      connections: 2,
      missed: 0,
      delays: [
        { sinceSynUs: 500, sinceEstablishedUs: 400, sinceAcknowledgedUs: 270 },
        { sinceSynUs: 190, sinceEstablishedUs: 100, sinceAcknowledgedUs: 90 },
      ],
    });
  });

  test("counts what was sent again once, from its first time", () => {
    const again = [syn(0, 1), syn(1000, 1), third(1100, 1, 11n), third(1150, 1, 11n), answer(1200, 1), answer(1300, 1)];
    expect(collect(...again, join(1400, 11n), join(2400, 11n)).delays).toEqual([
      { sinceSynUs: 1400, sinceEstablishedUs: 300, sinceAcknowledgedUs: 200 },
    ]);
  });

  test("counts a port that is used again as another connection", () => {
    const first = [syn(0, 1), third(100, 1, 11n), answer(150, 1), join(200, 11n)];
    const { connections, missed, delays } = collect(...first, syn(5000, 1, 8), third(5100, 1, 12n));
    expect({ connections, missed, since: delays.map((one) => one.sinceSynUs) }).toEqual({
      connections: 2,
      missed: 1,
      since: [200],
    });
  });

  test("has no time since the acknowledgment where it came after the join, and ignores joins of unknown connections", () => {
    const late = [syn(0, 1), third(100, 1, 11n), join(150, 99n), join(200, 11n), answer(300, 1)];
    expect(collect(...late)).toEqual({
      connections: 1,
      missed: 0,
      delays: [{ sinceSynUs: 200, sinceEstablishedUs: 100 }],
    });
  });

  test("leaves out the first connections where they are to warm up", () => {
    const collector = new JoinCollector();
    const cold = [syn(0, 1), third(100, 1, 11n), join(900, 11n)];
    for (const one of [...cold, syn(1000, 2), third(1100, 2, 12n), join(1200, 12n)]) collector.take(packet(one));
    const { connections, delays } = collector.result(1);
    expect({ connections, since: delays.map((one) => one.sinceSynUs) }).toEqual({ connections: 1, since: [200] });
  });

  test("does not count connections that were not established", () => {
    expect(collect(syn(0, 1), { ...syn(10, 1), flags: TcpFlag.rst, option: { kind: "nop" } })).toEqual({
      connections: 0,
      missed: 0,
      delays: [],
    });
  });
});
