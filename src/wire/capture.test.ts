import { expect, test } from "vitest";
import { concatBytes, fromHex } from "./bytes.ts";
import { readCapture, toFrame } from "./capture.ts";
import { WireError } from "./errors.ts";
import { LinkType, writePcapng, type Capture } from "./pcapng.ts";

const packet = fromHex("4500 0028 0001 0000 40 06 0000 0a000001 0a000002");
const header = (etherType: string) => fromHex(`${"00".repeat(12)} ${etherType}`);

function captured(linkType: number, bytes: Uint8Array): Capture {
  return {
    interfaces: [{ linkType, snapLength: 0 }],
    packets: [{ interface: 0, timestampNs: 5n, originalLength: bytes.length + 3, bytes }],
  };
}

test("readCapture() tells pcapng from pcap, and refuses what is neither", () => {
  const capture = captured(LinkType.ethernet, packet);
  expect(readCapture(writePcapng(capture))).toEqual(capture);
  const pcap = fromHex("a1b23c4d 0002 0004 00000000 00000000 00040000 00000001");
  expect(readCapture(pcap)).toEqual({ interfaces: [{ linkType: 1, snapLength: 0x40000 }], packets: [] });
  expect(() => readCapture(fromHex("cafe"))).toThrow(/neither a pcapng nor a pcap file/);
});

test.each([
  ["raw IPv4", LinkType.rawIp, packet, "0800", undefined],
  ["raw IPv6", LinkType.rawIp, fromHex("60000000"), "86dd", undefined],
  [
    "cooked, sent",
    LinkType.cooked,
    concatBytes([fromHex("0004 0001 0006 0000000000000000 0800"), packet]),
    "0800",
    "egress",
  ],
  [
    "cooked, received",
    LinkType.cooked,
    concatBytes([fromHex("0000 0001 0006 0000000000000000 0800"), packet]),
    "0800",
    "ingress",
  ],
  [
    "cooked v2, sent",
    LinkType.cooked2,
    concatBytes([fromHex("0800 0000 00000003 0001 04 06 0000000000000000"), packet]),
    "0800",
    "egress",
  ],
])(
  "toFrame() puts an Ethernet header before %s, and keeps the direction",
  (_, linkType, bytes, etherType, direction) => {
    const capture = captured(linkType, bytes);
    const framed = toFrame(capture.packets[0], capture);
    const inner = linkType === LinkType.rawIp ? bytes : packet;
    expect(framed).toEqual({
      frame: concatBytes([header(etherType), inner]),
      originalLength: 14 + inner.length + 3,
      ...(direction && { direction }),
    });
  },
);

test("toFrame() refuses link types it does not know, and packets that end within a cooked header", () => {
  const wifi = captured(105, packet);
  expect(() => toFrame(wifi.packets[0], wifi)).toThrow(/link type is 105/);
  const short = captured(LinkType.cooked, packet.subarray(0, 15));
  expect(() => toFrame(short.packets[0], short)).toThrow(WireError);
});
