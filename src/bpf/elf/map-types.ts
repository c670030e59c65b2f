/**
 * Maps as types of an object's BTF, the way libbpf reads them: a variable in the section .maps whose type is a structure of
 * pointers; numbers are lengths of arrays that the pointers point to (the macros `__uint` and `__type` of bpf_helpers.h).
 */
import type { BtfBuilder } from "../btf/builder.ts";
import { IntEncoding, Linkage } from "../btf/format.ts";
import { identifier } from "../program-info.ts";
import { MapType, type MapSpec } from "../spec.ts";

/** A variable: the number of its type and its bytes. */
export interface Variable {
  readonly type: number;
  readonly size: number;
}

/** What the bytes of a key or a value mean, for those who look at a map; bytes between the fields stay without a name. */
export interface RecordLayout {
  readonly fields: readonly {
    /** Becomes an identifier. */
    readonly name: string;
    readonly offset: number;
    readonly size: number;
    readonly kind: "unsigned" | "signed" | "bytes";
  }[];
}

/** Of a map: its key, unless it is a number, and its value. */
export interface MapLayout {
  readonly key?: RecordLayout;
  readonly value: RecordLayout;
}

const integerNames: Readonly<Record<number, string>> = { 1: "char", 2: "short", 4: "int", 8: "long long" };

export class MapTypes {
  readonly #builder: BtfBuilder;
  readonly #integers = new Map<string, number>();
  readonly #numbers = new Map<number, number>();
  #lock: number | undefined;

  constructor(builder: BtfBuilder) {
    this.#builder = builder;
  }

  /** A map for the section .maps. */
  definition(name: string, spec: MapSpec, layout?: MapLayout): Variable {
    const numbers: Record<string, number> = {
      type: MapType[spec.type],
      key_size: spec.keySize,
      value_size: spec.valueSize,
      max_entries: spec.maxEntries,
      map_flags: spec.flags ?? 0,
    };
    const members = Object.entries(numbers)
      .filter(([, number]) => number !== 0)
      .map(([member, number]): [string, number] => [member, this.#number(number)])
      .concat(spec.spinLockAt === undefined && !layout ? [] : this.#described(spec, layout))
      .map(([member, type], i) => ({ name: member, type, bitOffset: 64 * i, bitSize: 0 }));
    const size = 8 * members.length;
    return this.#variable(name, this.#builder.add({ kind: "struct", name: "", size, members }), size);
  }

  /** Bytes that make up a data section: libbpf turns each such section into an array map of one entry. */
  data(name: string, spec: MapSpec, layout?: MapLayout): Variable {
    return this.#variable(name, this.#value(spec, layout?.value), spec.valueSize);
  }

  /** Lists variables as those of a section, one behind the other. */
  section(name: string, variables: readonly Variable[]): void {
    let size = 0;
    const placed = variables.map((variable) => {
      const offset = size;
      size += variable.size;
      return { type: variable.type, offset, size: variable.size };
    });
    this.#builder.add({ kind: "dataSection", name, size, variables: placed });
  }

  /** Members that say what key and value are; the kernel finds locks by it. An array's key has to be a number. */
  #described(spec: MapSpec, layout?: MapLayout): [string, number][] {
    const key = layout?.key ? this.#record(spec.keySize, layout.key) : this.#keyOf(spec.keySize);
    const pointer = (type: number): number => this.#builder.add({ kind: "pointer", type });
    return [
      ["key", pointer(key)],
      ["value", pointer(this.#value(spec, layout?.value))],
    ];
  }

  #keyOf(size: number): number {
    return size in integerNames ? this.#integer(`unsigned ${integerNames[size]}`, size) : this.#bytes(size);
  }

  #value({ valueSize, spinLockAt }: MapSpec, layout?: RecordLayout): number {
    if (spinLockAt === undefined && !layout) return this.#bytes(valueSize);
    return this.#record(valueSize, layout ?? { fields: [] }, spinLockAt);
  }

  #record(size: number, { fields }: RecordLayout, spinLockAt?: number): number {
    const members = fields.map(({ name, offset, size: bytes, kind }) => {
      const integer = `${kind === "signed" ? "" : "unsigned "}${integerNames[bytes]}`;
      const type = kind === "bytes" ? this.#bytes(bytes) : this.#integer(integer, bytes);
      return { name: identifier(name), type, bitOffset: 8 * offset, bitSize: 0 };
    });
    if (spinLockAt !== undefined)
      members.push({ name: "lock", type: this.#spinLock(), bitOffset: 8 * spinLockAt, bitSize: 0 });
    members.sort((a, b) => a.bitOffset - b.bitOffset);
    return this.#builder.add({ kind: "struct", name: "", size, members });
  }

  #spinLock(): number {
    this.#lock ??= this.#builder.add({
      kind: "struct",
      name: "bpf_spin_lock",
      size: 4,
      members: [{ name: "val", type: this.#integer("unsigned int", 4), bitOffset: 0, bitSize: 0 }],
    });
    return this.#lock;
  }

  #bytes(length: number): number {
    const type = this.#integer("unsigned char", 1);
    return this.#builder.add({ kind: "array", type, indexType: this.#integer("int", 4), length });
  }

  #variable(name: string, type: number, size: number): Variable {
    return { type: this.#builder.add({ kind: "variable", name, type, linkage: Linkage.global }), size };
  }

  /** A pointer to an array of `int` of that length. */
  #number(number: number): number {
    let pointer = this.#numbers.get(number);
    if (pointer === undefined) {
      const int = this.#integer("int", 4);
      const array = this.#builder.add({ kind: "array", type: int, indexType: int, length: number });
      pointer = this.#builder.add({ kind: "pointer", type: array });
      this.#numbers.set(number, pointer);
    }
    return pointer;
  }

  #integer(name: string, size: number): number {
    let id = this.#integers.get(name);
    if (id === undefined) {
      const encoding = name.startsWith("unsigned") ? IntEncoding.none : IntEncoding.signed;
      id = this.#builder.add({ kind: "int", name, size, bits: 8 * size, bitOffset: 0, encoding });
      this.#integers.set(name, id);
    }
    return id;
  }
}
