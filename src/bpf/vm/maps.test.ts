import { describe, expect, it } from "vitest";
import type { MapTypeName } from "../spec.ts";
import { createMap } from "./maps.ts";

const key = (n: number) => Uint8Array.of(n, 0, 0, 0);
const value = (n: number) => Uint8Array.of(n, 0);

const prefix = (length: number, ...bits: number[]) => Uint8Array.of(length, 0, 0, 0, ...bits);

function make(type: MapTypeName, maxEntries = 2) {
  return createMap({ name: "m", type, keySize: 4, valueSize: 2, maxEntries });
}

describe("createMap()", () => {
  it("writes the contents of the spec", () => {
    const contents = [{ key: key(1), value: value(9) }];
    const map = createMap({ name: "m", type: "array", keySize: 4, valueSize: 2, maxEntries: 2, contents });
    expect([...map.entries()]).toEqual([
      [key(0), value(0)],
      [key(1), value(9)],
    ]);
  });

  it.each(["array", "perCpuArray"] as const)(
    "%s: every index exists, none beyond the end, none can be deleted",
    (type) => {
      const map = make(type);
      expect(map.lookup(key(1))).toEqual(value(0));
      expect(map.lookup(key(2))).toBeUndefined();
      expect(() => map.update(key(2), value(1))).toThrow(RangeError);
      expect(map.delete(key(0))).toBe(false);
    },
  );

  it.each(["hash", "perCpuHash"] as const)("%s: entries come and go, and a full map takes no more", (type) => {
    const map = make(type);
    map.update(key(1), value(1));
    map.update(key(2), value(2));
    expect(() => map.update(key(3), value(3))).toThrow(RangeError);
    map.update(key(2), value(5));
    expect(map.delete(key(1))).toBe(true);
    expect(map.delete(key(1))).toBe(false);
    expect([...map.entries()]).toEqual([[key(2), value(5)]]);
  });

  it.each(["lruHash", "lruPerCpuHash"] as const)("%s: the entry not used for longest makes room", (type) => {
    const map = make(type);
    map.update(key(1), value(1));
    map.update(key(2), value(2));
    map.lookup(key(1));
    map.update(key(3), value(3));
    expect([map.lookup(key(1)), map.lookup(key(2)), map.lookup(key(3))]).toEqual([value(1), undefined, value(3)]);
  });

  it("lpmTrie: the longest prefix is found, bits behind a prefix do not count, and none is longer than a key", () => {
    const map = createMap({ name: "m", type: "lpmTrie", keySize: 6, valueSize: 2, maxEntries: 2 });
    map.update(prefix(4, 0xa0, 0), value(4));
    map.update(prefix(12, 0xa1, 0x2f), value(12));
    const find = (first: number, second: number) => map.lookup(prefix(16, first, second));
    expect([find(0xa1, 0x20), find(0xa1, 0x30), find(0xb1, 0x20)]).toEqual([value(12), value(4), undefined]);
    expect(map.lookup(prefix(8, 0xa1, 0x20))).toEqual(value(4));
    expect([...map.entries()].map(([found]) => found)).toEqual([prefix(4, 0xa0, 0), prefix(12, 0xa1, 0x20)]);
    expect(() => map.update(prefix(17, 0, 0), value(1))).toThrow(RangeError);
    expect(() => map.update(prefix(0, 0, 0), value(1))).toThrow(RangeError);
    expect([map.delete(prefix(5, 0xa0, 0)), map.delete(prefix(4, 0xaf, 0xff))]).toEqual([false, true]);
  });

  it("copies keys and values in and out", () => {
    const map = make("hash");
    const written = value(1);
    map.update(key(1), written);
    written[0] = 7;
    map.lookup(key(1))!.fill(8);
    expect(map.lookup(key(1))).toEqual(value(1));
  });

  it("refuses keys and values of another length", () => {
    const map = make("hash");
    expect(() => map.lookup(new Uint8Array(3))).toThrow(RangeError);
    expect(() => map.update(key(1), new Uint8Array(4))).toThrow(RangeError);
  });
});
