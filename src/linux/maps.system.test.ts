import { mkdirSync, rmSync, rmdirSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { MapSpec, MapTypeName } from "../bpf/spec.ts";
import { ensureBpffs } from "./bpffs.ts";
import { KernelError } from "./kernel-error.ts";
import { createMap, MapFlag, mapFromId, openMap } from "./maps.ts";
import { possibleCpus } from "./memory.ts";
import { closeSocket, openSocket, SOCK_STREAM } from "./socket-calls.ts";

let directory: string;
beforeAll(() => {
  directory = `${ensureBpffs()}/emptcp-maps-${process.pid}`;
  mkdirSync(directory);
});
afterAll(() => rmdirSync(directory));

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

function spec(type: MapTypeName, more: Partial<MapSpec> = {}): MapSpec {
  return { name: "test", type, keySize: 4, valueSize: 4, maxEntries: 3000, ...more };
}

const sortedNumbers = (entries: readonly { key: Uint8Array }[]) =>
  entries.map(({ key }) => new DataView(key.buffer, key.byteOffset).getUint32(0, true)).sort((a, b) => a - b);

test.each(["hash", "lruHash"] as const)("KernelMap of type %s keeps, lists and forgets entries", (type) => {
  using map = createMap(spec(type));
  expect(map.lookup(u32(1))).toBeUndefined();
  map.update(u32(1), u32(10));
  expect(map.lookup(u32(1))).toEqual(u32(10));
  expect([...map.keys()]).toEqual([u32(1)]);
  expect(map.delete(u32(1))).toBe(true);
  expect(map.delete(u32(1))).toBe(false);
});

test.each(["hash", "lruHash", "array"] as const)("KernelMap of type %s moves entries in batches", (type) => {
  using map = createMap(spec(type, { maxEntries: type === "lruHash" ? 20_000 : 2500 }));
  const entries = Array.from({ length: 2500 }, (_, index) => ({ key: u32(index), value: u32(index * 7) }));
  map.updateMany(entries);
  const read = map.entries();
  expect(sortedNumbers(read)).toEqual(entries.map((_, index) => index));
  for (const { key, value } of read) expect(value).toEqual(map.lookup(key));
  if (type === "array") return;
  map.deleteMany([u32(99_999), ...entries.slice(0, 2400).map(({ key }) => key)]);
  expect(sortedNumbers(map.entries())).toEqual(Array.from({ length: 100 }, (_, index) => 2400 + index));
});

test.each(["perCpuHash", "perCpuArray", "lruPerCpuHash"] as const)(
  "KernelMap of type %s keeps a value per CPU",
  (type) => {
    using map = createMap(spec(type, { valueSize: 12, maxEntries: 16 }));
    const values = Array.from({ length: possibleCpus() }, (_, cpu) => new Uint8Array(12).fill(cpu + 1));
    map.updatePerCpu(u32(3), values);
    expect(map.lookupPerCpu(u32(3))).toEqual(values);
    expect(map.entriesPerCpu().find(({ key }) => key[0] === 3)?.values).toEqual(values);
    map.updateManyPerCpu([{ key: u32(4), values }]);
    expect(map.lookupPerCpu(u32(4))).toEqual(values);
    expect(() => map.lookup(u32(3))).toThrow(TypeError);
  },
);

test("KernelMap.entries() reads a program array, which has no batches", () => {
  using map = createMap(spec("progArray", { maxEntries: 4 }));
  expect(map.entries()).toEqual([]);
});

test("KernelMap.update() names the limit of a full map", () => {
  using map = createMap(spec("hash", { maxEntries: 1 }));
  map.update(u32(1), u32(1));
  expect(() => map.update(u32(2), u32(1))).toThrow("the map holds at most 1 entries");
  expect(() => map.update(u32(1), u32(1), "create")).toThrow(KernelError);
});

test("createMap() writes the contents of the spec, for each CPU too", () => {
  using map = createMap(spec("array", { maxEntries: 2, contents: [{ key: u32(1), value: u32(5) }] }));
  expect(map.lookup(u32(1))).toEqual(u32(5));
  using each = createMap(spec("perCpuArray", { maxEntries: 2, contents: [{ key: u32(1), value: u32(6) }] }));
  expect(each.lookupPerCpu(u32(1))).toEqual(Array.from({ length: possibleCpus() }, () => u32(6)));
});

test("createMap() names map, size and reason when the kernel refuses", () => {
  expect(() => createMap(spec("array", { keySize: 8 }))).toThrow(/Cannot create map test \(array, key 8 B.*EINVAL/);
});

test("KernelMap.mapIntoMemory() shares an array both ways and cannot be read after unmap()", () => {
  using map = createMap(spec("array", { valueSize: 12, maxEntries: 700, flags: MapFlag.mmapable }));
  const memory = map.mapIntoMemory();
  expect(memory.stride).toBe(16);
  memory.bytes.set([1, 2, 3], 699 * memory.stride);
  expect(map.lookup(u32(699))!.subarray(0, 3)).toEqual(Uint8Array.of(1, 2, 3));
  map.update(u32(0), new Uint8Array(12).fill(9));
  expect(memory.bytes[11]).toBe(9);
  memory.unmap();
  memory.unmap();
  expect(() => memory.bytes).toThrow("it is unmapped");
});

test("openMap() and mapFromId() find a pinned map after its maker closed it", () => {
  const path = `${directory}/kept`;
  const map = createMap(spec("hash"));
  try {
    map.update(u32(1), u32(2));
    map.pin(path);
    expect(() => map.pin(path)).toThrow("something is pinned there already");
    const { id } = map.info();
    map.close();
    map.close();
    expect(() => map.lookup(u32(1))).toThrow("it is closed");
    using again = openMap(path);
    expect(again.lookup(u32(1))).toEqual(u32(2));
    expect(again.info()).toEqual({
      id,
      name: "test",
      type: "hash",
      keySize: 4,
      valueSize: 4,
      maxEntries: 3000,
      flags: 0,
    });
    using byId = mapFromId(id);
    expect(byId.lookup(u32(1))).toEqual(u32(2));
  } finally {
    rmSync(path);
  }
  expect(() => openMap(path)).toThrow("nothing is pinned there");
});

test("KernelMap of type skStorage takes descriptors of sockets for keys and cannot be listed", () => {
  using map = createMap(spec("skStorage", { maxEntries: 0, flags: MapFlag.noPrealloc }));
  const socket = openSocket(2, SOCK_STREAM, 6);
  try {
    expect(map.lookup(u32(socket))).toBeUndefined();
    map.update(u32(socket), u32(7));
    expect(map.lookup(u32(socket))).toEqual(u32(7));
    expect(map.delete(u32(socket))).toBe(true);
    expect(map.lookup(u32(socket))).toBeUndefined();
  } finally {
    closeSocket(socket);
  }
  expect(() => map.lookup(u32(socket))).toThrow("its keys are descriptors of sockets");
  expect(() => map.lookup(u32(map.fd))).toThrow("its keys are descriptors of sockets");
  expect(() => [...map.keys()]).toThrow("maps of its type cannot be listed");
});
