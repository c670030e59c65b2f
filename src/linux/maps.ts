/**
 * Maps: made from specs, read and written one entry at a time or in batches, shared as memory. Keys and values are bytes;
 * those that come out are copies.
 */
import { readFileSync } from "node:fs";
import { mapInfo } from "../bpf/map-info.ts";
import { MapType, type MapSpec, type MapTypeName } from "../bpf/spec.ts";
import { deleteMany, readMany, updateMany } from "./map-batches.ts";
import { bpf, nameAt, objectInfo, tryBpf } from "./bpf-syscall.ts";
import { mappableArrays, mapTypeSupport } from "./bpf-support.ts";
import { errnos } from "./ffi.ts";
import { explainRefusal, type KernelFeature } from "./kernel-error.ts";
import { KernelObject, openById, openPinned } from "./kernel-object.ts";
import { mapMemory, possibleCpus, wholePages } from "./memory.ts";
import { loadTypeInfo } from "./type-info.ts";

/** BPF_F_* flags of maps (include/uapi/linux/bpf.h). */
export const MapFlag = { noPrealloc: 1 << 0, readOnlyProgram: 1 << 7, mmapable: 1 << 10 } as const;

/**
 * What `update()` may do: write in any case, only make a new entry, only change an existing one; `locked` writes in any case,
 * into the existing entry and under its spin lock, where programs that hold it see the change.
 */
export const UpdateMode = { any: 0, create: 1, exist: 2, locked: 4 } as const;
export type UpdateModeName = keyof typeof UpdateMode;

export interface MapInfo {
  readonly id: number;
  readonly name: string;
  readonly type: MapTypeName;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
}

export interface MapEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

export interface PerCpuMapEntry {
  readonly key: Uint8Array;
  /** One value for each possible CPU. */
  readonly values: readonly Uint8Array[];
}

/** An array map in this process's memory: what is written here programs see at once, and the other way round. */
export interface MappedArray extends Disposable {
  /** All entries, `stride` bytes apart. @throws Error after `unmap()`: do not keep it longer than the mapping */
  readonly bytes: Uint8Array;
  /** Bytes from one entry to the next: the value size rounded up to 8. */
  readonly stride: number;
  unmap(): void;
}

const unlisted = { ENOTSUPP: "maps of its type cannot be listed", EOPNOTSUPP: "maps of its type cannot be listed" };

const perCpuTypes: ReadonlySet<MapTypeName> = new Set(["perCpuHash", "perCpuArray", "lruPerCpuHash"]);
const typeByNumber = new Map(Object.entries(MapType).map(([name, number]) => [number as number, name as MapTypeName]));

/** A map in the kernel. */
export class KernelMap extends KernelObject {
  readonly name: string;
  readonly type: MapTypeName;
  readonly keySize: number;
  /** Bytes; of one CPU's value in a per-CPU map. */
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly perCpu: boolean;

  constructor(fd: number, shape: Omit<MapInfo, "id">) {
    super(fd, `map ${shape.name}`);
    this.name = shape.name;
    this.type = shape.type;
    this.keySize = shape.keySize;
    this.valueSize = shape.valueSize;
    this.maxEntries = shape.maxEntries;
    this.flags = shape.flags;
    this.perCpu = perCpuTypes.has(shape.type);
  }

  /** Bytes the kernel copies for one key: per-CPU values are 8-byte aligned, one after the other. */
  get transferSize(): number {
    return this.perCpu ? roundUpTo8(this.valueSize) * possibleCpus() : this.valueSize;
  }

  info(): MapInfo {
    return readMapInfo(this.fd, this.label);
  }

  /** The value of a key, or undefined. Not for per-CPU maps. */
  lookup(key: Uint8Array): Uint8Array | undefined {
    this.#expectPerCpu(false);
    return this.#read(key);
  }

  /** One value for each possible CPU, or undefined. */
  lookupPerCpu(key: Uint8Array): Uint8Array[] | undefined {
    this.#expectPerCpu(true);
    const all = this.#read(key);
    return all && this.#split(all);
  }

  /** Writes an entry. @throws KernelError, e.g. when the map is full or `mode` forbids it */
  update(key: Uint8Array, value: Uint8Array, mode: UpdateModeName = "any"): void {
    this.#expectPerCpu(false);
    this.#write(key, expectLength(value, this.valueSize, `value of ${this.label}`), mode);
  }

  /** Writes the values of all possible CPUs. */
  updatePerCpu(key: Uint8Array, values: readonly Uint8Array[], mode: UpdateModeName = "any"): void {
    this.#expectPerCpu(true);
    this.#write(key, this.#join(values), mode);
  }

  /** Removes an entry; false when there was none. Entries of arrays cannot be removed, those of program arrays can. */
  delete(key: Uint8Array): boolean {
    expectLength(key, this.keySize, `key of ${this.label}`);
    const outcome = tryBpf("mapDelete", { mapFd: this.fd, key });
    if (outcome.result === 0) return true;
    if (outcome.errno === errnos["ENOENT"]) return false;
    throw explainRefusal(`delete an entry of ${this.label}`, outcome.errno, {
      reasons: { EINVAL: "maps of its type keep all their entries" },
    });
  }

  /** Every key, in the kernel's order. An entry deleted meanwhile can make the walk of a hash start again. */
  *keys(): Generator<Uint8Array> {
    let key: Uint8Array | null = null;
    for (;;) {
      const nextKey: Uint8Array = new Uint8Array(this.keySize);
      const outcome = tryBpf("mapGetNextKey", { mapFd: this.fd, key, nextKey });
      if (outcome.result < 0) {
        if (outcome.errno === errnos["ENOENT"]) return;
        throw explainRefusal(`list the keys of ${this.label}`, outcome.errno, { reasons: unlisted });
      }
      yield nextKey;
      key = nextKey;
    }
  }

  /** All entries, in batches where the kernel has them. */
  entries(): MapEntry[] {
    this.#expectPerCpu(false);
    return this.#readAll();
  }

  /** All entries of a per-CPU map. */
  entriesPerCpu(): PerCpuMapEntry[] {
    this.#expectPerCpu(true);
    return this.#readAll().map(({ key, value }) => ({ key, values: this.#split(value) }));
  }

  /** Writes many entries, in batches where the kernel has them. Not atomic: a failure leaves the first ones written. */
  updateMany(entries: readonly MapEntry[]): void {
    this.#expectPerCpu(false);
    for (const { key, value } of entries) {
      expectLength(key, this.keySize, `key of ${this.label}`);
      expectLength(value, this.valueSize, `value of ${this.label}`);
    }
    updateMany(this, entries, (entry) => this.#write(entry.key, entry.value, "any"));
  }

  /** As `updateMany()`, for per-CPU maps. */
  updateManyPerCpu(entries: readonly PerCpuMapEntry[]): void {
    this.#expectPerCpu(true);
    const joined = entries.map(({ key, values }) => {
      return { key: expectLength(key, this.keySize, `key of ${this.label}`), value: this.#join(values) };
    });
    updateMany(this, joined, (entry) => this.#write(entry.key, entry.value, "any"));
  }

  /** Removes many entries; keys that have none are passed over. */
  deleteMany(keys: readonly Uint8Array[]): void {
    for (const key of keys) expectLength(key, this.keySize, `key of ${this.label}`);
    deleteMany(this, keys, (key) => void this.delete(key));
  }

  /** Maps an array made with `MapFlag.mmapable` into memory. @throws KernelError */
  mapIntoMemory(): MappedArray {
    if (this.type !== "array" || !(this.flags & MapFlag.mmapable)) {
      throw new TypeError(`Cannot map ${this.label} into memory: it is not an array made with MapFlag.mmapable`);
    }
    const stride = roundUpTo8(this.valueSize);
    const length = stride * this.maxEntries;
    const mapping = mapMemory(this.fd, 0, wholePages(length), true, this.label);
    return {
      get bytes() {
        return new Uint8Array(mapping.buffer, 0, length);
      },
      stride,
      unmap: () => mapping.unmap(),
      [Symbol.dispose]: () => mapping.unmap(),
    };
  }

  #read(key: Uint8Array): Uint8Array | undefined {
    expectLength(key, this.keySize, `key of ${this.label}`);
    const value = new Uint8Array(this.transferSize);
    const outcome = tryBpf("mapLookup", { mapFd: this.fd, key, value });
    if (outcome.result === 0) return value;
    if (outcome.errno === errnos["ENOENT"]) return undefined;
    throw explainRefusal(`look up an entry of ${this.label}`, outcome.errno, {
      reasons: { EBADF: "its keys are descriptors of sockets", ENOTSOCK: "its keys are descriptors of sockets" },
    });
  }

  #write(key: Uint8Array, value: Uint8Array, mode: UpdateModeName): void {
    expectLength(key, this.keySize, `key of ${this.label}`);
    bpf("mapUpdate", { mapFd: this.fd, key, value, flags: UpdateMode[mode] }, `write an entry of ${this.label}`, {
      reasons: {
        E2BIG: `the map holds at most ${this.maxEntries} entries`,
        ENOENT: "there is no entry with that key to change",
      },
    });
  }

  #readAll(): MapEntry[] {
    return readMany(this, () => {
      const found: MapEntry[] = [];
      for (const key of this.keys()) {
        const value = this.#read(key);
        if (value) found.push({ key, value });
      }
      return found;
    });
  }

  #split(all: Uint8Array): Uint8Array[] {
    const stride = roundUpTo8(this.valueSize);
    return Array.from({ length: possibleCpus() }, (_, cpu) => all.slice(cpu * stride, cpu * stride + this.valueSize));
  }

  #join(values: readonly Uint8Array[]): Uint8Array {
    if (values.length !== possibleCpus()) {
      throw new RangeError(
        `${this.label} needs ${possibleCpus()} values, one for each possible CPU, not ${values.length}`,
      );
    }
    const stride = roundUpTo8(this.valueSize);
    const all = new Uint8Array(stride * values.length);
    values.forEach((value, cpu) => {
      all.set(expectLength(value, this.valueSize, `value of ${this.label}`), cpu * stride);
    });
    return all;
  }

  #expectPerCpu(perCpu: boolean): void {
    if (this.perCpu === perCpu) return;
    throw new TypeError(
      this.perCpu
        ? `${this.label} keeps a value for each CPU: use the functions that end in PerCpu`
        : `${this.label} keeps one value for each key: use the functions that do not end in PerCpu`,
    );
  }
}

/** Makes a map and writes its contents. @throws KernelError */
export function createMap(spec: MapSpec): KernelMap {
  const features: KernelFeature[] = [mapTypeSupport[spec.type]];
  if ((spec.flags ?? 0) & MapFlag.mmapable) features.push(mappableArrays);
  const info = mapInfo(spec);
  const types = info && loadTypeInfo(info.btf, `map ${spec.name}`);
  try {
    const { result } = bpf(
      "mapCreate",
      {
        type: MapType[spec.type],
        keySize: spec.keySize,
        valueSize: spec.valueSize,
        maxEntries: spec.maxEntries,
        flags: spec.flags ?? 0,
        name: spec.name,
        ...(types && { btfFd: types.fd, btfKeyTypeId: info.keyType, btfValueTypeId: info.valueType }),
      },
      `create map ${spec.name} (${spec.type}, key ${spec.keySize} B, value ${spec.valueSize} B, ${spec.maxEntries} entries)`,
      { capabilities: ["CAP_BPF"], features },
    );
    return withContents(new KernelMap(result, { ...spec, flags: spec.flags ?? 0 }), spec);
  } finally {
    types?.close();
  }
}

function withContents(map: KernelMap, spec: MapSpec): KernelMap {
  try {
    const contents = spec.contents ?? [];
    if (map.perCpu) {
      map.updateManyPerCpu(contents.map(({ key, value }) => ({ key, values: Array(possibleCpus()).fill(value) })));
    } else map.updateMany(contents);
  } catch (error) {
    map.close();
    throw error;
  }
  return map;
}

/** Opens a pinned map. @throws KernelError; TypeError when something else is pinned there */
export function openMap(path: string): KernelMap {
  return adoptMap(openPinned(path, "map"), path);
}

/** Opens a map by the number the kernel gave it. @throws KernelError */
export function mapFromId(id: number): KernelMap {
  return adoptMap(openById("map", id), `map number ${id}`);
}

function adoptMap(fd: number, what: string): KernelMap {
  const object = new KernelObject(fd, what);
  try {
    if (!/^map_type:/m.test(readFileSync(`/proc/thread-self/fdinfo/${fd}`, "utf8"))) {
      throw new TypeError(`Cannot open ${what}: it is not a map`);
    }
    return new KernelMap(fd, readMapInfo(fd, what));
  } catch (error) {
    object.close();
    throw error;
  }
}

/** Bytes of `struct bpf_map_info` up to and with the flags and the name. */
const MAP_INFO_SIZE = 40;

function readMapInfo(fd: number, label: string): MapInfo {
  const view = objectInfo(fd, MAP_INFO_SIZE, `inspect ${label}`);
  const number = view.getUint32(0, true);
  const type = typeByNumber.get(number);
  if (type === undefined) throw new TypeError(`Cannot use ${label}: emptcp has no maps of type ${number}`);
  return {
    type,
    id: view.getUint32(4, true),
    keySize: view.getUint32(8, true),
    valueSize: view.getUint32(12, true),
    maxEntries: view.getUint32(16, true),
    flags: view.getUint32(20, true),
    name: nameAt(view, 24),
  };
}

function roundUpTo8(size: number): number {
  return (size + 7) & ~7;
}

function expectLength(bytes: Uint8Array, length: number, what: string): Uint8Array {
  if (bytes.length !== length) throw new RangeError(`The ${what} is ${length} bytes, not ${bytes.length}`);
  return bytes;
}
