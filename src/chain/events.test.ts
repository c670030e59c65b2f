import { describe, expect, it } from "vitest";
import { eventHeader, layOutEvent, policyNumber } from "../compiler/layout.ts";
import { decodeEvent } from "./events.ts";

const events = [
  layOutEvent({ name: "first", fields: {} }),
  layOutEvent({ name: "second", fields: { small: "u8", wide: "u64", half: "u16", signed: "i32", far: "i64" } }),
];

/** A record of the second event, of the third selector, as the documented layout says. */
function record(): Uint8Array {
  const bytes = new Uint8Array(96);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 1, true);
  view.setUint16(2, 0x8002, true);
  view.setUint32(4, 96, true);
  view.setBigUint64(8, 5_000_000_000n, true);
  bytes.set([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1], 16);
  bytes.set([0x20, 0x01, 0x0d, 0xb8], 32);
  bytes[47] = 1;
  view.setUint16(48, 80, true);
  view.setUint16(50, 5001, true);
  view.setUint8(56, 200);
  view.setBigUint64(64, 0xffff_ffff_ffff_fffen, true);
  view.setUint16(72, 0xabcd, true);
  view.setInt32(76, -5, true);
  view.setBigInt64(80, -6n, true);
  return bytes;
}

describe("decodeEvent()", () => {
  it("reads every field of a record", () => {
    expect(events[1].size).toBe(88);
    const bytes = record().subarray(0, 88);
    new DataView(bytes.buffer).setUint32(4, 88, true);
    expect(decodeEvent(bytes, { events })).toEqual({
      name: "second",
      policy: { kind: "selector", index: 2 },
      timeNs: 5_000_000_000n,
      local: "10.0.0.1",
      remote: "2001:db8::1",
      localPort: 80,
      remotePort: 5001,
      fields: { small: 200, wide: 0xffff_ffff_ffff_fffen, half: 0xabcd, signed: -5, far: -6n },
    });
    expect(policyNumber("selector", 2)).toBe(0x8002);
  });

  it.each([
    ["that is shorter than a header", new Uint8Array(eventHeader.length - 1)],
    ["of an event that the chain does not have", Uint8Array.of(9, ...new Uint8Array(63))],
    ["whose size is another", record()],
  ])("refuses a record %s", (_, bytes) => {
    expect(() => decodeEvent(bytes, { events })).toThrow(/^Cannot decode an event of \d+ bytes/);
  });
});
