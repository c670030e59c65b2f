import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fromHex, toHex } from "./bytes.ts";
import { WireError } from "./errors.ts";
import {
  formatIpAddress,
  formatIpPrefix,
  formatMacAddress,
  parseIpAddress,
  parseIpPrefix,
  parseMacAddress,
  prefixContains,
} from "./ip.ts";

/** Addresses with many zeros, which is where formatting gets hard. */
const ipv6 = fc
  .array(fc.oneof(fc.constant(0), fc.constant(0), fc.integer({ min: 0, max: 0xffff })), { minLength: 8, maxLength: 8 })
  .map((groups) => Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff])));
const ipv4 = fc.uint8Array({ minLength: 4, maxLength: 4 });

describe("IP addresses", () => {
  test("parseIpAddress() gives back every address that formatIpAddress() wrote", () => {
    fc.assert(
      fc.property(fc.oneof(ipv4, ipv6), (address) => {
        expect(parseIpAddress(formatIpAddress(address))).toEqual(address);
      }),
    );
  });

  // The cases of RFC 5952 §4 and §5.
  test.each([
    ["2001:0db8::0001", "2001:db8::1"],
    ["2001:db8:0:0:0:0:2:1", "2001:db8::2:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:DB8::ABCD", "2001:db8::abcd"],
    ["0:0:0:0:0:0:0:0", "::"],
    ["1:0:0:0:0:0:0:0", "1::"],
    ["::ffff:c000:0201", "::ffff:192.0.2.1"],
    ["64:ff9b::192.0.2.33", "64:ff9b::c000:221"],
  ])("formatIpAddress() writes %s as %s", (text, formatted) => {
    expect(formatIpAddress(parseIpAddress(text))).toBe(formatted);
  });

  test.each([
    "",
    "1.2.3",
    "1.2.3.256",
    "01.2.3.4",
    "1.2.3.4 ",
    ":",
    ":::",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "12345::",
    "1:2:3:4:5:6:7::8",
    "1:2:3:4:5:6:7:8:9",
    "::1.2.3",
    "1.2.3.4::",
    "::g",
    "fe80::1%eth0",
  ])("parseIpAddress() rejects %j", (text) => {
    expect(() => parseIpAddress(text)).toThrow(WireError);
  });
});

describe("IP prefixes", () => {
  test("parseIpPrefix() takes an address alone as a prefix of its full length", () => {
    expect(parseIpPrefix("10.0.0.1").length).toBe(32);
    expect(parseIpPrefix("::1").length).toBe(128);
  });

  test("prefixContains() holds exactly for addresses that share the first bits", () => {
    fc.assert(
      fc.property(ipv4, ipv4, fc.integer({ min: 0, max: 32 }), (a, b, length) => {
        const bitsOf = (address: Uint8Array): string =>
          BigInt(`0x${toHex(address)}`)
            .toString(2)
            .padStart(32, "0")
            .slice(0, length);
        const prefix = parseIpPrefix(`${formatIpAddress(Uint8Array.from(a))}/32`);
        const masked = BigInt(`0x${toHex(prefix.address)}`) & ~((1n << BigInt(32 - length)) - 1n);
        const network = { address: fromHex(masked.toString(16).padStart(8, "0")), length };
        expect(prefixContains(network, b)).toBe(bitsOf(a) === bitsOf(b));
      }),
    );
  });

  test("prefixContains() never holds across families", () => {
    expect(prefixContains(parseIpPrefix("::/0"), parseIpAddress("10.0.0.1"))).toBe(false);
  });

  test("formatIpPrefix() writes what parseIpPrefix() reads", () => {
    expect(formatIpPrefix(parseIpPrefix("2001:db8::/32"))).toBe("2001:db8::/32");
  });

  test("parseIpPrefix() rejects bits after the prefix, and says which prefix was probably meant", () => {
    expect(() => parseIpPrefix("10.0.0.1/8")).toThrow("the prefix is 10.0.0.0/8");
  });

  test.each(["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8/8", "::/129", "/8"])(
    "parseIpPrefix() rejects %j",
    (text) => {
      expect(() => parseIpPrefix(text)).toThrow(WireError);
    },
  );
});

describe("MAC addresses", () => {
  test("parseMacAddress() reads what formatMacAddress() writes", () => {
    expect(formatMacAddress(parseMacAddress("02:00:5E:00:00:ff"))).toBe("02:00:5e:00:00:ff");
  });

  test.each(["", "02:00:00:00:00", "02:00:00:00:00:0", "02-00-00-00-00-01"])("parseMacAddress() rejects %j", (text) => {
    expect(() => parseMacAddress(text)).toThrow(WireError);
  });
});
