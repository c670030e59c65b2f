import { describe, expect, test } from "vitest";
import { TcpFlag, type Dss, type TcpOption } from "../../wire/index.ts";
import { tcpFrame } from "../testing/frames.ts";
import { DataFollower } from "./segments.ts";

/** Near the end of the numbers: both sequences wrap. */
const initial = 0xffff_ff00;
const firstData = 0xffff_ffff_ffff_ff00n;

type Sent = { readonly port?: number; readonly flags?: number; readonly sequence: number; readonly option?: TcpOption };

function frame({ port = 4000, flags = TcpFlag.ack, sequence, option }: Sent, bytes = 0): Uint8Array {
  return tcpFrame({
    source: "10.0.1.1",
    destination: "10.0.3.2",
    sourcePort: port,
    destinationPort: 80,
    sequence: sequence >>> 0,
    flags,
    options: option ? [option] : [],
    payloadBytes: bytes,
  });
}

const mapping = (offset: number, subflowSequence: number, dataLength: number): Dss => ({
  kind: "dss",
  dataFin: false,
  dataSequence64: BigInt.asUintN(64, firstData + BigInt(offset)),
  subflowSequence,
  dataLength,
});

const capable: TcpOption = {
  kind: "mpCapable",
  version: 1,
  checksumRequired: false,
  extensibility: false,
  denyJoinId0: false,
  hmac: true,
  senderKey: 1n,
  receiverKey: 2n,
  dataLength: 100,
};

describe("DataFollower", () => {
  test("take() places data of all subflows in the connection's, first data, parts of mappings and repetitions too", () => {
    const follower = new DataFollower();
    const syn = (port: number) => frame({ port, flags: TcpFlag.syn, sequence: initial });
    const seen = [
      syn(4000),
      frame({ sequence: initial + 1, option: capable }, 100),
      frame({ sequence: initial + 101, option: mapping(100, 101, 1000) }, 400),
      frame({ sequence: initial + 501, option: mapping(100, 101, 1000) }, 600),
      syn(4001),
      frame({ port: 4001, sequence: initial + 1, option: mapping(1100, 1, 50) }, 50),
      frame({ port: 4001, sequence: initial + 51, option: mapping(500, 51, 600) }, 600),
    ].map((one) => follower.take(one)?.data);
    expect(seen).toEqual([
      undefined,
      { offset: 0, length: 100 },
      { offset: 100, length: 400 },
      { offset: 500, length: 600 },
      undefined,
      { offset: 1100, length: 50 },
      { offset: 500, length: 600 },
    ]);
  });

  test("take() tells segments without data, and without a mapping, from what is no TCP", () => {
    const follower = new DataFollower();
    follower.take(frame({ flags: TcpFlag.syn, sequence: initial }));
    expect(follower.take(frame({ sequence: initial + 1 }))).toEqual({});
    expect(follower.take(frame({ sequence: initial + 1 }, 10))).toEqual({});
    expect(follower.take(Uint8Array.from([...new Uint8Array(12), 8, 6, 0, 1]))).toBeUndefined();
  });
});
