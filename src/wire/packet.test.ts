import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concatBytes, fromHex } from "./bytes.ts";
import { WireError } from "./errors.ts";
import { EtherType } from "./ethernet.ts";
import { parseIpAddress } from "./ip.ts";
import { emitPacket, type Packet, type ParsedPacket, parsePacket } from "./packet.ts";
import { damagedFrame, damageNames, frame, hostileFrame, packet } from "./testing.ts";

function parseOrError(bytes: Uint8Array): ParsedPacket | WireError {
  try {
    return parsePacket(bytes);
  } catch (error) {
    if (error instanceof WireError) return error;
    throw error;
  }
}

const base = {
  ethernet: {
    destination: fromHex("02 00 00 00 00 01"),
    source: fromHex("02 00 00 00 00 02"),
    tags: [],
    etherType: EtherType.ipv4,
  },
  ip: {
    version: 4,
    trafficClass: 0,
    identification: 7,
    reservedFlag: false,
    dontFragment: true,
    moreFragments: false,
    fragmentOffset: 0,
    timeToLive: 64,
    protocol: 6,
    source: parseIpAddress("10.0.0.1"),
    destination: parseIpAddress("10.0.0.2"),
    options: new Uint8Array(0),
  },
  tcp: {
    sourcePort: 1000,
    destinationPort: 80,
    sequence: 1,
    acknowledgment: 2,
    flags: 0x18,
    window: 500,
    urgentPointer: 0,
    options: [{ kind: "mpPrio", backup: true }, { kind: "nop" }],
  },
  payload: fromHex("68 69"),
} satisfies Packet;

describe("parsePacket() and emitPacket()", () => {
  test("parsePacket() gives back every packet that emitPacket() made", () => {
    fc.assert(
      fc.property(packet(), (packet) => {
        expect(parsePacket(emitPacket(packet))).toEqual({ ...packet, offsets: expect.anything() });
      }),
      { numRuns: 1000 },
    );
  });

  test("emitPacket() gives back the bytes of every frame, damaged or not, that parsePacket() accepts", () => {
    fc.assert(
      fc.property(fc.oneof(frame(), hostileFrame()), (bytes) => {
        const parsed = parseOrError(bytes);
        if (!(parsed instanceof WireError)) expect(emitPacket(parsed)).toEqual(bytes);
      }),
      { numRuns: 3000 },
    );
  });

  test.each(damageNames)("parsePacket() throws nothing but WireError for damage: %s", (name) => {
    fc.assert(
      fc.property(damagedFrame([name]), (bytes) => {
        const parsed = parseOrError(bytes);
        if (parsed instanceof WireError) {
          expect(parsed.offset).toBeGreaterThanOrEqual(0);
          expect(parsed.offset).toBeLessThanOrEqual(bytes.length);
        } else expect(emitPacket(parsed)).toEqual(bytes);
      }),
      { numRuns: 200 },
    );
  });

  test("parsePacket() throws nothing but WireError for random bytes that start with an IP header", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.constantFrom(0x45, 0x4f, 0x60), (bytes, first) => {
        const whole = concatBytes([Uint8Array.of(first), bytes]);
        try {
          expect(emitPacket(parsePacket(whole, { link: "ip" }))).toEqual(whole);
        } catch (error) {
          expect(error).toBeInstanceOf(WireError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test("parsePacket() says where each header starts", () => {
    const tag = { tpid: EtherType.serviceVlan, priority: 1, dropEligible: false, vlan: 9 };
    const bytes = emitPacket({
      ...base,
      ethernet: { ...base.ethernet, tags: [tag, { ...tag, tpid: EtherType.vlan }] },
      trailer: new Uint8Array(6),
    });
    expect(parsePacket(bytes).offsets).toEqual({ l2: 0, l3: 22, l4: 42, payload: 66, end: 68 });
  });

  test("parsePacket() keeps a wrong checksum and leaves out a right one", () => {
    const bytes = emitPacket(base);
    expect(parsePacket(bytes).tcp).not.toHaveProperty("checksum");
    bytes[bytes.length - 1] = 0;
    expect(parsePacket(bytes).tcp).toHaveProperty("checksum");
    expect(parsePacket(bytes).ip).not.toHaveProperty("checksum");
  });

  test.each([
    { what: "a frame cut in its header", change: (b: Uint8Array) => b.slice(0, 13), layer: "Ethernet", offset: 13 },
    { what: "an IPv4 total length past the end", change: (b: Uint8Array) => b.slice(0, -1), layer: "IPv4", offset: 16 },
    { what: "an IPv4 header of four words", change: (b: Uint8Array) => b.with(14, 0x44), layer: "IPv4", offset: 14 },
    {
      what: "a TCP header longer than the packet",
      change: (b: Uint8Array) => b.with(46, 0xf0),
      layer: "TCP",
      offset: 46,
    },
  ])("parsePacket() rejects $what, naming layer and offset", ({ change, layer, offset }) => {
    const error = parseOrError(Uint8Array.from(change(emitPacket(base))));
    expect(error).toMatchObject({ name: "WireError", layer, offset });
  });

  test("parsePacket() leaves the content of a fragment alone", () => {
    const parsed = parsePacket(emitPacket({ ...base, ip: { ...base.ip, moreFragments: true } }));
    expect(parsed).not.toHaveProperty("tcp");
    expect(parsed.payload).toHaveLength(24 + base.payload.length);
  });

  test("emitPacket() refuses a value that does not fit its field", () => {
    expect(() => emitPacket({ ...base, tcp: { ...base.tcp, window: 65536 } })).toThrow(
      "Cannot emit TCP at byte 14: window is 65536, not an integer from 0 to 65535",
    );
  });

  test("emitPacket() refuses more options than a header holds", () => {
    const options = Array.from({ length: 41 }, () => ({ kind: "nop" as const }));
    expect(() => emitPacket({ ...base, tcp: { ...base.tcp, options } })).toThrow(WireError);
  });
});

test("parsePacket() copies what it returns, from a Buffer too, so that reusing the buffer changes nothing", () => {
  const buffer = Buffer.from(emitPacket(base));
  const parsed = parsePacket(buffer);
  buffer.fill(0);
  expect(emitPacket(parsed)).toEqual(emitPacket(base));
  expect(Object.getPrototypeOf(parsed.payload)).toBe(Uint8Array.prototype);
});
