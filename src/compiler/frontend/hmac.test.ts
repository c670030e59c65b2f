import { createHmac } from "node:crypto";
import { describe, expect, it } from "vitest";
import { makeFrame } from "../testing/packets.ts";
import { outputs, writing } from "../testing/outputs.ts";

describe("mptcpHmac()", () => {
  const sender = 0x0123_4567_89ab_cdefn;
  const receiver = 0xfedc_ba98_7654_3210n;
  const bytes = Buffer.from("05c0a80102fd0000000000000000000000000000010203", "hex");

  it.each([0, 1, 7, 8, 15, 16, 19, 23])("is the end of the HMAC over a message of %i bytes", (length) => {
    const message = Buffer.alloc(24);
    bytes.copy(message, 0, 0, length);
    const words = [0, 8, 16].map((at) => `0x${message.toString("hex", at, at + 8)}`);
    const text = `out.x = mptcpHmac(0x${sender.toString(16)}, 0x${receiver.toString(16)}, ${words.join(", ")}, u32(a));`;
    const keys = Buffer.alloc(16);
    keys.writeBigUInt64BE(sender, 0);
    keys.writeBigUInt64BE(receiver, 8);
    const digest = createHmac("sha256", keys).update(message.subarray(0, length)).digest();
    expect(outputs(writing(text), makeFrame(), { a: length })[0]).toBe(digest.readBigUInt64BE(24));
  });
});
