import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { WireError } from "./errors.ts";
import { EtherType } from "./ethernet.ts";
import { isIpFragment, parsePacket } from "./packet.ts";
import { damagedFrame, damageNames, frame, hostileFrame, packet } from "./testing.ts";

const outcome = (bytes: Uint8Array): string => {
  try {
    const { ip, tcp } = parsePacket(bytes);
    if (tcp?.options.some(({ kind }) => kind === "malformed") === true) return "malformed option";
    if (ip !== undefined && isIpFragment(ip)) return "fragment";
    return tcp === undefined ? "no TCP" : "TCP";
  } catch (error) {
    return error instanceof WireError ? `cut ${error.layer}` : "another error";
  }
};

describe("arbitrary packets", () => {
  test("frame() and hostileFrame() stay within 300 bytes", () => {
    fc.assert(fc.property(fc.oneof(frame(), hostileFrame()), (bytes) => bytes.length <= 300));
  });

  test("packet() reaches both IP versions, tags, options, extension headers, fragments and full 40 bytes of options", () => {
    const packets = fc.sample(packet(), { numRuns: 2000, seed: 1 });
    const holds: Record<string, number> = {
      ipv4: packets.filter(({ ip }) => ip?.version === 4).length,
      ipv6: packets.filter(({ ip }) => ip?.version === 6).length,
      tags: packets.filter(({ ethernet }) => ethernet?.tags.some(({ tpid }) => tpid === EtherType.serviceVlan)).length,
      ipv4Options: packets.filter(({ ip }) => ip?.version === 4 && ip.options.length > 0).length,
      extensions: packets.filter(({ ip }) => ip?.version === 6 && ip.extensions.length > 0).length,
      fragments: packets.filter(({ ip }) => ip !== undefined && isIpFragment(ip)).length,
      fullOptions: packets.filter(
        ({ tcp }) => tcp?.options.some((option) => option.kind === "unknown" && option.bytes.length > 20) === true,
      ).length,
      endOfList: packets.filter(({ tcp }) => tcp?.options.some(({ kind }) => kind === "endOfList")).length,
      wrongChecksum: packets.filter(({ tcp }) => tcp?.checksum !== undefined).length,
      trailer: packets.filter(({ trailer }) => trailer !== undefined).length,
    };
    for (const [what, count] of Object.entries(holds)) expect(count, what).toBeGreaterThan(20);
  });

  test("hostileFrame() reaches every way in which a packet can be refused or spoilt", () => {
    const outcomes = new Set(fc.sample(hostileFrame(), { numRuns: 1500, seed: 1 }).map(outcome));
    expect([...outcomes].sort()).toEqual(
      expect.arrayContaining([
        "TCP",
        "cut Ethernet",
        "cut IPv4",
        "cut IPv6",
        "cut TCP",
        "fragment",
        "malformed option",
        "no TCP",
      ]),
    );
    expect(outcomes).not.toContain("another error");
  });

  test("hostileFrame() gives malformed options both with right and with wrong checksums", () => {
    const malformed = fc
      .sample(hostileFrame(), { numRuns: 1000, seed: 3 })
      .filter((bytes) => outcome(bytes) === "malformed option")
      .map((bytes) => parsePacket(bytes).tcp?.checksum === undefined);
    expect(malformed.filter((right) => right).length).toBeGreaterThan(50);
    expect(malformed.filter((right) => !right).length).toBeGreaterThan(50);
  });

  test.each(damageNames)("damagedFrame() leaves few packets as good as they were: %s", (name) => {
    const frames = fc.sample(damagedFrame([name]), { numRuns: 100, seed: 2 });
    const spoilt = frames.filter((bytes) => outcome(bytes) !== "TCP" || parsePacket(bytes).tcp?.checksum !== undefined);
    expect(spoilt.length).toBeGreaterThan(10);
  });
});
