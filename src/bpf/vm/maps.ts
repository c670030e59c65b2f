/** The kernel's maps with its return values (kernel/bpf/{arraymap,hashtab,ringbuf}.c). Per-CPU maps are those of CPU 0. */
import type { MapSpec, MapTypeName } from "../spec.ts";
import { Block } from "./memory.ts";
import type { Program } from "./program.ts";

/** Negative errno values that helpers return. */
export const Errno = {
  noEntry: -2,
  tooBig: -7,
  noMemory: -12,
  accessDenied: -13,
  fault: -14,
  exists: -17,
  invalid: -22,
  noSpace: -28,
  notSupported: -524,
} as const;

/** Flags of an update. */
const UpdateFlag = { any: 0, noExist: 1, exist: 2 } as const;

function keyText(key: Uint8Array): string {
  // One character per byte is the cheapest key a JavaScript Map can look up by content.
  let text = "";
  for (let i = 0; i < key.length; i++) text += String.fromCharCode(key[i]);
  return text;
}

function checkLength(what: string, map: MapSpec, bytes: Uint8Array, length: number): void {
  if (bytes.length !== length)
    throw new RangeError(`A ${what} of map ${map.name} has ${length} bytes, not ${bytes.length}`);
}

/**
 * A map, usable from programs and from outside and shared by as many VMs as are given it. Keys and values are copied in and
 * out, in the bytes that programs see (little-endian numbers).
 */
export abstract class VmMap {
  readonly spec: MapSpec;
  constructor(spec: MapSpec) {
    this.spec = spec;
  }
  get type(): MapTypeName {
    return this.spec.type;
  }

  /** A program's lookup: the value itself. */
  abstract find(key: Uint8Array): Block | undefined;
  /** A program's update: 0 or a negative errno. */
  abstract set(key: Uint8Array, value: Uint8Array, flags: number): number;
  /** A program's delete: 0 or a negative errno. */
  abstract remove(key: Uint8Array): number;
  /** All entries, copied; those of an array include the ones never written. */
  abstract entries(): Iterable<readonly [key: Uint8Array, value: Uint8Array]>;

  /** A copy of the value of `key`. */
  lookup(key: Uint8Array): Uint8Array | undefined {
    checkLength("key", this.spec, key, this.spec.keySize);
    return this.find(key)?.bytes.slice();
  }

  /** Writes an entry; a RangeError where the kernel refuses (map full, index too large). */
  update(key: Uint8Array, value: Uint8Array): void {
    checkLength("key", this.spec, key, this.spec.keySize);
    checkLength("value", this.spec, value, this.spec.valueSize);
    const result = this.set(key, value, UpdateFlag.any);
    if (result !== 0) throw new RangeError(`Cannot update map ${this.spec.name}: errno ${-result}`);
  }

  /** Deletes an entry and says whether there was one. */
  delete(key: Uint8Array): boolean {
    checkLength("key", this.spec, key, this.spec.keySize);
    return this.remove(key) === 0;
  }
}

function indexOf(key: Uint8Array): number {
  return (key[0] | (key[1] << 8) | (key[2] << 16) | (key[3] << 24)) >>> 0;
}

function indexKey(index: number): Uint8Array {
  const key = new Uint8Array(4);
  new DataView(key.buffer).setUint32(0, index, true);
  return key;
}

export class ArrayMap extends VmMap {
  private readonly blocks: (Block | undefined)[] = [];

  /** The value at an index; undefined past the end. */
  at(index: number): Block | undefined {
    if (index >= this.spec.maxEntries) return undefined;
    return (this.blocks[index] ??= new Block(`value of map ${this.spec.name}`, new Uint8Array(this.spec.valueSize)));
  }
  find(key: Uint8Array): Block | undefined {
    return this.at(indexOf(key));
  }
  set(key: Uint8Array, value: Uint8Array, flags: number): number {
    if (flags > UpdateFlag.exist) return Errno.invalid;
    const block = this.at(indexOf(key));
    if (!block) return Errno.tooBig;
    if (flags === UpdateFlag.noExist) return Errno.exists;
    block.bytes.set(value);
    return 0;
  }
  remove(): number {
    return Errno.invalid;
  }
  *entries(): Iterable<readonly [Uint8Array, Uint8Array]> {
    for (let i = 0; i < this.spec.maxEntries; i++) yield [indexKey(i), this.at(i)!.bytes.slice()];
  }
}

/** A hash map; with `evicts`, the least recently used entry makes room for a new one. */
export class HashMap extends VmMap {
  private readonly blocks = new Map<string, { readonly key: Uint8Array; block: Block }>();
  private readonly evicts: boolean;
  constructor(spec: MapSpec) {
    super(spec);
    this.evicts = spec.type === "lruHash" || spec.type === "lruPerCpuHash";
  }
  find(key: Uint8Array): Block | undefined {
    const text = keyText(key);
    const entry = this.blocks.get(text);
    if (entry && this.evicts) {
      this.blocks.delete(text);
      this.blocks.set(text, entry);
    }
    return entry?.block;
  }
  set(key: Uint8Array, value: Uint8Array, flags: number): number {
    if (flags > UpdateFlag.exist) return Errno.invalid;
    const text = keyText(key);
    const existing = this.blocks.get(text);
    if (existing && flags === UpdateFlag.noExist) return Errno.exists;
    if (!existing && flags === UpdateFlag.exist) return Errno.noEntry;
    if (existing && this.type === "perCpuHash") {
      existing.block.bytes.set(value);
      return 0;
    }
    if (!existing && this.blocks.size >= this.spec.maxEntries) {
      if (!this.evicts) return Errno.tooBig;
      const [oldest] = this.blocks.keys();
      this.blocks.delete(oldest);
    }
    // As in the kernel an update replaces the element: pointers to the old value keep the old value.
    const block = new Block(`value of map ${this.spec.name}`, value.slice());
    this.blocks.delete(text);
    this.blocks.set(text, { key: existing?.key ?? key.slice(), block });
    return 0;
  }
  remove(key: Uint8Array): number {
    return this.blocks.delete(keyText(key)) ? 0 : Errno.noEntry;
  }
  *entries(): Iterable<readonly [Uint8Array, Uint8Array]> {
    for (const { key, block } of this.blocks.values()) yield [key.slice(), block.bytes.slice()];
  }
}

/** Prefixes: keys are a u32 of bits that count, and the bits. */
export class PrefixMap extends HashMap {
  #bits(key: Uint8Array): number {
    return new DataView(key.buffer, key.byteOffset).getUint32(0, true);
  }
  /** The key of `length` bits, with zeros behind them. */
  #cut(key: Uint8Array, length: number): Uint8Array {
    const cut = key.slice();
    new DataView(cut.buffer).setUint32(0, length, true);
    for (let bit = length; bit < 8 * (key.length - 4); bit++) cut[4 + (bit >> 3)] &= ~(0x80 >> (bit & 7));
    return cut;
  }
  override find(key: Uint8Array): Block | undefined {
    for (let length = Math.min(this.#bits(key), 8 * (key.length - 4)); length >= 0; length--) {
      const found = super.find(this.#cut(key, length));
      if (found) return found;
    }
    return undefined;
  }
  override set(key: Uint8Array, value: Uint8Array, flags: number): number {
    const length = this.#bits(key);
    if (length > 8 * (key.length - 4)) return Errno.invalid;
    const result = super.set(this.#cut(key, length), value, flags);
    return result === Errno.tooBig ? Errno.noSpace : result;
  }
  override remove(key: Uint8Array): number {
    const length = this.#bits(key);
    return length > 8 * (key.length - 4) ? Errno.invalid : super.remove(this.#cut(key, length));
  }
}

/** A map without values that programs can point to. */
abstract class OpaqueMap extends VmMap {
  find(): undefined {
    return undefined;
  }
  set(): number {
    return Errno.invalid;
  }
  remove(): number {
    return Errno.invalid;
  }
  *entries(): Iterable<readonly [Uint8Array, Uint8Array]> {}
}

/** Programs by index, for tail calls. */
export class ProgramArrayMap extends OpaqueMap {
  private readonly programs: (Program | undefined)[] = [];

  program(index: number): Program | undefined {
    return this.programs[index];
  }
  /** Puts a VM's program at an index, or takes it away; a RangeError past the end or for another program type. */
  setProgram(index: number, target: { readonly program: Program } | undefined): void {
    if (!(index >= 0 && index < this.spec.maxEntries))
      throw new RangeError(`Map ${this.spec.name} has no index ${index}`);
    const type = this.programs.find((program) => program)?.spec.type;
    if (target && type && target.program.spec.type !== type) {
      throw new RangeError(`Map ${this.spec.name} holds ${type} programs, not ${target.program.spec.type}`);
    }
    this.programs[index] = target?.program;
  }
}

/** Each record costs a header of 8 bytes and is rounded up to 8 (kernel/bpf/ringbuf.c). */
const RECORD_HEADER = 8;

export class RingBufferMap extends OpaqueMap {
  private readonly queue: {
    readonly bytes: Uint8Array;
    readonly cost: number;
    state: "reserved" | "submitted" | "discarded";
  }[] = [];
  private used = 0;

  /** Bytes of a new record, or undefined when there is no room. */
  reserve(size: number): Uint8Array | undefined {
    const cost = (size + RECORD_HEADER + 7) & ~7;
    if (this.used + cost > this.spec.maxEntries - 1) return undefined;
    const bytes = new Uint8Array(size);
    this.queue.push({ bytes, cost, state: "reserved" });
    this.used += cost;
    return bytes;
  }
  /** Ends a reservation; false if there is none with these bytes. */
  commit(bytes: Uint8Array, state: "submitted" | "discarded"): boolean {
    const record = this.queue.find((candidate) => candidate.bytes === bytes && candidate.state === "reserved");
    if (record) record.state = state;
    return record !== undefined;
  }
  /** Bytes between the consumer and the producer. */
  get available(): number {
    return this.used;
  }
  /** Takes the submitted records out, oldest first, as a consumer does: up to the first one still reserved. */
  drain(): Uint8Array[] {
    const records: Uint8Array[] = [];
    while (this.queue.length > 0 && this.queue[0].state !== "reserved") {
      const record = this.queue.shift()!;
      this.used -= record.cost;
      if (record.state === "submitted") records.push(record.bytes);
    }
    return records;
  }
}

/** Records of sockets, by the socket's address; from outside by a descriptor, of which there are none here. */
export class SocketStorageMap extends OpaqueMap {
  private readonly blocks = new Map<bigint, Block>();

  /** The record of a socket. */
  of(socket: bigint): Block | undefined {
    return this.blocks.get(socket);
  }
  /** Makes the record of a socket, with `value` in it or zeros. */
  create(socket: bigint, value?: Uint8Array): Block {
    const { name, valueSize } = this.spec;
    const block = new Block(`value of map ${name}`, value?.slice() ?? new Uint8Array(valueSize));
    this.blocks.set(socket, block);
    return block;
  }
  /** Deletes the record of a socket and says whether there was one. */
  forget(socket: bigint): boolean {
    return this.blocks.delete(socket);
  }
  /** Copies of all records, by their sockets. */
  records(): ReadonlyMap<bigint, Uint8Array> {
    return new Map([...this.blocks].map(([socket, { bytes }]) => [socket, bytes.slice()]));
  }
}

/** What only the kernel reads: operations. */
class OperationsMap extends OpaqueMap {}

const classes: Readonly<Record<MapTypeName, new (spec: MapSpec) => VmMap>> = {
  hash: HashMap,
  array: ArrayMap,
  progArray: ProgramArrayMap,
  perCpuHash: HashMap,
  perCpuArray: ArrayMap,
  lruHash: HashMap,
  lruPerCpuHash: HashMap,
  lpmTrie: PrefixMap,
  ringBuffer: RingBufferMap,
  skStorage: SocketStorageMap,
  structOps: OperationsMap,
};

/** Makes a map and writes its contents. */
export function createMap(spec: MapSpec): VmMap {
  const map = new classes[spec.type](spec);
  for (const { key, value } of spec.contents ?? []) map.update(key, value);
  return map;
}
