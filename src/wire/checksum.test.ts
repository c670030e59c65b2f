import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fromHex } from "./bytes.ts";
import {
  dssChecksum,
  internetChecksum,
  pseudoHeaderSum,
  transportChecksum,
  updateChecksum16,
  updateChecksum32,
  updateChecksumBytes,
} from "./checksum.ts";
import { parseIpAddress } from "./ip.ts";

/** Sums as integers, the way the definition reads, with no folding on the way. */
function definition(bytes: Uint8Array): number {
  let sum = 0n;
  for (let at = 0; at < bytes.length; at += 2) sum += BigInt((bytes[at] << 8) | (bytes[at + 1] ?? 0));
  const rest = Number(sum % 0xffffn);
  return ~(rest === 0 && sum > 0n ? 0xffff : rest) & 0xffff;
}

/** Zero and 0xffff stand for the same number in one's complement; an update may yield either. */
const same = (checksum: number): number => (checksum === 0xffff ? 0 : checksum);

const data = fc.uint8Array({ minLength: 8, maxLength: 80 });

describe("internetChecksum()", () => {
  test("internetChecksum() is the one's complement of the one's complement sum", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => internetChecksum(bytes) === definition(bytes)),
    );
  });

  test("internetChecksum() gives the result of the example in RFC 1071 §3", () => {
    expect(internetChecksum(fromHex("0001 f203 f4f5 f6f7"))).toBe(~0xddf2 & 0xffff);
  });

  test("transportChecksum() is zero over a UDP datagram that holds its checksum", () => {
    const source = parseIpAddress("2001:db8::1");
    const destination = parseIpAddress("2001:db8::2");
    const datagram = fromHex("0035 0035 000a 0000 6869");
    const checksum = transportChecksum(source, destination, 17, datagram);
    datagram.set([checksum >> 8, checksum & 0xff], 6);
    expect(transportChecksum(source, destination, 17, datagram)).toBe(0);
  });

  test("pseudoHeaderSum() counts both halves of a length above 65535", () => {
    const none = new Uint8Array(16);
    expect(pseudoHeaderSum(none, none, 6, 0x10002)).toBe(6 + 1 + 2);
  });
});

describe("incremental update", () => {
  test("updateChecksum16() agrees with a new sum, for any word", () => {
    fc.assert(
      fc.property(data, fc.nat(), fc.integer({ min: 0, max: 0xffff }), (bytes, where, value) => {
        const offset = (where % (bytes.length >> 1)) * 2;
        const changed = Uint8Array.from(bytes);
        changed.set([value >> 8, value & 0xff], offset);
        const before = (bytes[offset] << 8) | bytes[offset + 1];
        expect(same(updateChecksum16(internetChecksum(bytes), before, value))).toBe(same(internetChecksum(changed)));
      }),
    );
  });

  test("updateChecksum16() gives the result of the example in RFC 1624 §4", () => {
    expect(updateChecksum16(0xdd2f, 0x5555, 0x3285)).toBe(0x0000);
  });

  test("updateChecksum32() agrees with a new sum, at any even offset", () => {
    fc.assert(
      fc.property(data, fc.nat(), fc.integer({ min: 0, max: 0xffff_ffff }), (bytes, where, value) => {
        const offset = (where % ((bytes.length >> 1) - 1)) * 2;
        const changed = Uint8Array.from(bytes);
        new DataView(changed.buffer).setUint32(offset, value);
        const before = new DataView(bytes.buffer, bytes.byteOffset).getUint32(offset);
        expect(same(updateChecksum32(internetChecksum(bytes), before, value))).toBe(same(internetChecksum(changed)));
      }),
    );
  });

  test("updateChecksumBytes() agrees with a new sum, for any range at any offset, odd ones too", () => {
    fc.assert(
      fc.property(data, fc.nat(), fc.uint8Array({ maxLength: 8 }), (bytes, where, range) => {
        const offset = where % (bytes.length - range.length + 1);
        const changed = Uint8Array.from(bytes);
        changed.set(range, offset);
        const before = bytes.slice(offset, offset + range.length);
        const updated = updateChecksumBytes(internetChecksum(bytes), before, range, offset);
        expect(same(updated)).toBe(same(internetChecksum(changed)));
      }),
    );
  });

  test("updateChecksumBytes() refuses ranges of different lengths", () => {
    expect(() => updateChecksumBytes(0, new Uint8Array(1), new Uint8Array(2), 0)).toThrow(RangeError);
  });
});

test("dssChecksum() covers data of odd length and every field of the mapping", () => {
  const payload = fromHex("01 02 03");
  const whole = fromHex("0102030405060708 0a0b0c0d 0003 0000 01 02 03");
  expect(dssChecksum(0x0102030405060708n, 0x0a0b0c0d, 3, payload)).toBe(internetChecksum(whole));
});
