import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concatBytes, fromHex } from "./bytes.ts";
import { WireError } from "./errors.ts";
import { readPcap } from "./pcap.ts";
import { type Capture, LinkType, readPcapng, writePcapng } from "./pcapng.ts";

const capture: fc.Arbitrary<Capture> = fc
  .array(
    fc.record({
      linkType: fc.constantFrom(LinkType.ethernet, LinkType.rawIp),
      snapLength: fc.constantFrom(0, 262144),
      name: fc.string({ unit: "grapheme", maxLength: 8 }),
    }),
    { minLength: 1, maxLength: 3 },
  )
  .chain((interfaces) =>
    fc.record({
      interfaces: fc.constant(interfaces),
      packets: fc.array(
        fc
          .record({
            interface: fc.integer({ min: 0, max: interfaces.length - 1 }),
            timestampNs: fc.bigInt({ min: 0n, max: 2n ** 62n }),
            bytes: fc.uint8Array({ maxLength: 50 }),
            cut: fc.nat(9),
            direction: fc.constantFrom(undefined, "ingress" as const, "egress" as const),
          })
          .map(({ cut, direction, ...packet }) => ({
            ...packet,
            originalLength: packet.bytes.length + cut,
            ...(direction && { direction }),
          })),
        { maxLength: 4 },
      ),
    }),
  );

/** A section in big-endian with two interfaces (microseconds by default, 1/1024 s), written out by hand. */
const bigEndian = fromHex(`
  0a0d0d0a 0000001c 1a2b3c4d 0001 0000 ffffffffffffffff 0000001c
  00000001 00000014 0001 0000 00000004 00000014
  00000001 00000028 0065 0000 00000000 0002 0002 6c6f0000 0009 0001 8a000000 0000 0000 00000028
  00000bad 00000010 12345678 00000010
  00000006 00000028 00000000 00000000 000f4241 00000003 00000009 aabbcc00 0000 0000 00000028
  00000006 00000024 00000001 00000000 00000600 00000001 00000001 dd000000 00000024
  00000003 00000014 00000009 01020304 00000014
`);

describe("readPcapng()", () => {
  test("readPcapng() gives back what writePcapng() wrote", () => {
    fc.assert(
      fc.property(capture, (capture) => {
        expect(readPcapng(writePcapng(capture))).toEqual(capture);
      }),
    );
  });

  test("readPcapng() reads big-endian files, the time units of each interface, simple packets, and passes over the rest", () => {
    expect(readPcapng(bigEndian)).toEqual({
      interfaces: [
        { linkType: LinkType.ethernet, snapLength: 4 },
        { linkType: LinkType.rawIp, snapLength: 0, name: "lo" },
      ],
      packets: [
        { interface: 0, timestampNs: 1_000_001_000n, originalLength: 9, bytes: fromHex("aabbcc") },
        { interface: 1, timestampNs: 1_500_000_000n, originalLength: 1, bytes: fromHex("dd") },
        { interface: 0, originalLength: 9, bytes: fromHex("01020304") },
      ],
    });
  });

  test("readPcapng() numbers the interfaces of a second section after those of the first", () => {
    const one = { interfaces: [{ linkType: 1, snapLength: 0 }], packets: [] };
    const packet = { interface: 0, timestampNs: 5n, originalLength: 1, bytes: fromHex("ff") };
    const file = concatBytes([bigEndian, writePcapng({ ...one, packets: [packet] })]);
    expect(readPcapng(file).packets.at(-1)).toEqual({ ...packet, interface: 2 });
  });

  test("readPcapng() rejects a file cut anywhere but between blocks with a WireError", () => {
    const starts = [28, 48, 88, 104, 144, 180];
    for (let length = 1; length < bigEndian.length; length++) {
      const cut = bigEndian.slice(0, length);
      if (starts.includes(length)) expect(() => readPcapng(cut)).not.toThrow();
      else expect(() => readPcapng(cut), `${length} bytes`).toThrow(WireError);
    }
  });

  test("readPcapng() throws nothing but WireError for a damaged file", () => {
    fc.assert(
      fc.property(fc.nat(bigEndian.length - 1), fc.integer({ min: 0, max: 255 }), (at, value) => {
        const damaged = Uint8Array.from(bigEndian);
        damaged[at] = value;
        try {
          readPcapng(damaged);
        } catch (error) {
          expect(error).toBeInstanceOf(WireError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test("readPcapng() rejects a file of another kind", () => {
    expect(() => readPcapng(new Uint8Array(100))).toThrow("this is not a pcapng file");
  });
});

describe("writePcapng()", () => {
  const interfaces = [{ linkType: 1, snapLength: 0 }];

  test("writePcapng() writes a packet without a time as a simple packet block", () => {
    const packet = { interface: 0, originalLength: 3, bytes: fromHex("010203") };
    expect(readPcapng(writePcapng({ interfaces, packets: [packet] })).packets).toEqual([packet]);
  });

  test("writePcapng() refuses a cut packet without a time, and a packet of no interface", () => {
    const packet = { interface: 0, originalLength: 4, bytes: fromHex("010203") };
    expect(() => writePcapng({ interfaces, packets: [packet] })).toThrow(WireError);
    expect(() => writePcapng({ interfaces, packets: [{ ...packet, interface: 1, timestampNs: 0n }] })).toThrow(
      WireError,
    );
  });
});

describe("readPcap()", () => {
  const little = fromHex(`
    d4c3b2a1 0200 0400 00000000 00000000 00000400 01000000
    01000000 02000000 02000000 09000000 aabb
  `);
  const bigNanoseconds = fromHex(`
    a1b23c4d 0002 0004 00000000 00000000 00040000 00000001
    00000001 00000002 00000002 00000009 aabb
  `);

  test.each([
    { what: "little-endian microseconds", file: little, timestampNs: 1_000_002_000n },
    { what: "big-endian nanoseconds", file: bigNanoseconds, timestampNs: 1_000_000_002n },
  ])("readPcap() reads $what", ({ file, timestampNs }) => {
    expect(readPcap(file)).toEqual({
      interfaces: [{ linkType: LinkType.ethernet, snapLength: 262144 }],
      packets: [{ interface: 0, timestampNs, originalLength: 9, bytes: fromHex("aabb") }],
    });
  });

  test("readPcap() rejects a file cut anywhere but between records with a WireError", () => {
    for (let length = 0; length < little.length; length++) {
      if (length === 24) expect(readPcap(little.slice(0, length)).packets).toEqual([]);
      else expect(() => readPcap(little.slice(0, length)), `${length} bytes`).toThrow(WireError);
    }
  });
});
