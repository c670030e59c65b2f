import { describe, expect, test } from "vitest";
import { fromHex, toHex } from "./bytes.ts";
import { addAddrHmac, initialDataSequence, joinAckHmac, joinSynAckHmac, mptcpToken } from "./crypto.ts";
import { parseIpAddress } from "./ip.ts";

// Version 1 is checked against a kernel's own handshakes in vectors.test.ts; no kernel at hand speaks version 0, so its
// answers were worked out with sha1sum and the definition of HMAC (RFC 2104).
const keyA = 0x0123456789abcdefn;
const keyB = 0xfedcba9876543210n;
const initiator = { key: keyA, nonce: 0xaabbccdd };
const responder = { key: keyB, nonce: 0x11223344 };

/** Eight characters as the big-endian number they spell. */
const spelled = (text: string): bigint => BigInt(`0x${toHex(new TextEncoder().encode(text))}`);

describe("version 0 (SHA-1)", () => {
  test("mptcpToken() takes the first 32 bits of the hash", () => {
    expect(mptcpToken(keyA, 0)).toBe(0x0ca2eadb);
    expect(mptcpToken(keyB, 0)).toBe(0xa5be6871);
  });

  test("initialDataSequence() takes the last 64 bits of the hash", () => {
    expect(initialDataSequence(keyA, 0)).toBe(0xe3df8ee121f10547n);
    expect(initialDataSequence(keyB, 0)).toBe(0x334fc234bee495can);
  });

  test("joinSynAckHmac() takes the first 64 bits, the sender's key and nonce first", () => {
    expect(joinSynAckHmac(responder, initiator, 0)).toBe(0xb30da3f4cdd45d33n);
  });

  test("joinAckHmac() takes all 160 bits", () => {
    expect(joinAckHmac(initiator, responder, 0)).toEqual(fromHex("bd23889c25cdaa68024351ec7bd7a2476c139013"));
  });
});

describe("version 1 (SHA-256)", () => {
  // Results known to the kernel's own self-test (net/mptcp/crypto_test.c), whose inputs are characters, not hex.
  test.each([
    ["0b0b0b0b", "0b0b0b0b", "4869", "2054", "8385e24fb4235ac37556b6b886db106284a1da67"],
    ["aaaaaaaa", "aaaaaaaa", "dddd", "dddd", "2c5e219164ff1dca1c4a92318d847bb6b9d44492"],
    ["01020304", "05060708", "cdcd", "cdcd", "e73b9ba9969969cefb04aa0d6df18ec2fcc075b6"],
  ])("joinAckHmac() of keys %s, %s and nonces %s, %s", (key1, key2, nonce1, nonce2, hmac) => {
    const sender = { key: spelled(key1), nonce: Number(spelled(nonce1)) };
    const receiver = { key: spelled(key2), nonce: Number(spelled(nonce2)) };
    expect(toHex(joinAckHmac(sender, receiver, 1))).toBe(hmac);
  });

  test("addAddrHmac() counts a port that is not there as zero", () => {
    const keys = { sender: keyA, receiver: keyB };
    const announced = { addressId: 1, address: parseIpAddress("10.0.0.1") };
    expect(addAddrHmac(keys, announced)).toBe(addAddrHmac(keys, { ...announced, port: 0 }));
    expect(addAddrHmac(keys, announced)).not.toBe(addAddrHmac(keys, { ...announced, port: 80 }));
  });
});
