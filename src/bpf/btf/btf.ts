/** Reads BTF. Opening indexes only where each type is; types are decoded when they are asked for. */
import {
  BTF_MAGIC,
  BTF_VERSION,
  BtfKind,
  HEADER_SIZE,
  TYPE_HEADER_SIZE,
  extraSize,
  type BtfKindName,
} from "./format.ts";
import type { BtfMember, BtfType } from "./types.ts";

/** Bytes that are no BTF, or BTF that lacks what was asked for. */
export class BtfError extends Error {
  constructor(reason: string) {
    super(`Cannot read BTF: ${reason}`);
    this.name = "BtfError";
  }
}

/** Where a member is. */
export interface BtfField {
  /** Byte offset from the start of the outermost structure (of the byte with the first bit, for a bit field). */
  readonly offset: number;
  /** Bytes of the member's type. */
  readonly size: number;
  /** For a bit field: its first bit counted from `offset`, and its bits. */
  readonly bitField?: { readonly shift: number; readonly bits: number };
  /** Number of the member's type. */
  readonly type: number;
}

const kindNames = Object.keys(BtfKind) as BtfKindName[];
/** Modifiers, through which a member's structure is found. */
const transparent = new Set<number>([
  BtfKind.typedef,
  BtfKind.volatile,
  BtfKind.const,
  BtfKind.restrict,
  BtfKind.typeTag,
]);
const MAX_DEPTH = 32;

/** One BTF blob: that of a program, or the kernel's (/sys/kernel/btf/vmlinux). */
export class Btf {
  private readonly view: DataView;
  private readonly bytes: Uint8Array;
  /** Byte offset of each type; index 0 is void. */
  private readonly starts: Uint32Array;
  private readonly strings: { readonly start: number; readonly end: number };
  private readonly byName = new Map<number, Map<string, number>>();

  /** @throws BtfError for bytes that are no BTF */
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const { view } = this;
    if (bytes.length < HEADER_SIZE) throw new BtfError("the header is cut off");
    if (view.getUint16(0, true) !== BTF_MAGIC) throw new BtfError("it does not begin with the magic number");
    if (view.getUint8(2) !== BTF_VERSION) throw new BtfError(`version ${view.getUint8(2)} is unknown`);
    const headerSize = view.getUint32(4, true);
    const types = headerSize + view.getUint32(8, true);
    const typesEnd = types + view.getUint32(12, true);
    const strings = headerSize + view.getUint32(16, true);
    this.strings = { start: strings, end: strings + view.getUint32(20, true) };
    if (typesEnd > bytes.length || this.strings.end > bytes.length)
      throw new BtfError("a section reaches past the end");
    if (strings === this.strings.end || bytes[strings] !== 0 || bytes[this.strings.end - 1] !== 0) {
      throw new BtfError("the string section is not framed by zeros");
    }
    this.starts = this.locate(types, typesEnd);
  }

  /** The number of types, counting void. */
  get count(): number {
    return this.starts.length;
  }

  /** The kind of a type. */
  kindOf(id: number): BtfKindName {
    return id === 0 ? "void" : kindNames[this.kindAt(this.start(id))];
  }

  /** The name of a type; empty for an anonymous one. */
  nameOf(id: number): string {
    return id === 0 ? "" : this.text(this.view.getUint32(this.start(id), true));
  }

  /** The number of the first type of a kind with a name. */
  find(kind: BtfKindName, name: string): number | undefined {
    const number = BtfKind[kind];
    let names = this.byName.get(number);
    if (!names) {
      names = this.indexKind(number);
      this.byName.set(number, names);
    }
    return names.get(name);
  }

  /** The number of the structure with a name. @throws BtfError */
  struct(name: string): number {
    const id = this.find("struct", name) ?? this.find("union", name);
    if (id === undefined) throw new BtfError(`there is no structure ${name}`);
    return id;
  }

  /** The number of the function with a name, as programs are attached to. @throws BtfError */
  function(name: string): number {
    const id = this.find("function", name);
    if (id === undefined) throw new BtfError(`there is no function ${name}`);
    return id;
  }

  /**
   * A member by its path from a structure: `__sk_common.skc_daddr`. Members of anonymous structures are found as in C, and
   * elements of arrays by index: `cb[2]`. @throws BtfError
   */
  field(struct: string | number, path: string): BtfField {
    let type = typeof struct === "string" ? this.struct(struct) : struct;
    const name = typeof struct === "string" ? struct : this.nameOf(struct) || `type ${struct}`;
    let bits = 0;
    let bitSize = 0;
    for (const step of path.split(".")) {
      const match = /^(\w+)((?:\[\d+\])*)$/.exec(step);
      if (!match) throw new BtfError(`${path} is no path of members`);
      const found = this.member(type, match[1], 0);
      if (!found) throw new BtfError(`${name} has no member ${path}`);
      bits += found.bitOffset;
      ({ type, bitSize } = found);
      for (const [, index] of match[2].matchAll(/\[(\d+)\]/g)) {
        const array = this.type(this.skipModifiers(type));
        if (array.kind !== "array" || Number(index) >= array.length)
          throw new BtfError(`${name} has no element ${path}`);
        type = array.type;
        bits += Number(index) * this.sizeOf(type) * 8;
      }
    }
    const offset = Math.floor(bits / 8);
    const place = { offset, size: this.sizeOf(type), type };
    return bitSize === 0 ? place : { ...place, bitField: { shift: bits % 8, bits: bitSize } };
  }

  /** Bytes of a type. @throws BtfError for one that has no size */
  sizeOf(id: number): number {
    const type = this.type(this.skipModifiers(id));
    if (type.kind === "pointer") return 8;
    if (type.kind === "array") return type.length * this.sizeOf(type.type);
    if (type.kind === "variable") return this.sizeOf(type.type);
    if ("size" in type) return type.size;
    throw new BtfError(`type ${id} (${type.kind}) has no size`);
  }

  /** The type behind typedefs and qualifiers. */
  skipModifiers(id: number): number {
    let type = id;
    for (let depth = 0; depth < MAX_DEPTH; depth++) {
      if (type === 0) return 0;
      const start = this.start(type);
      if (!transparent.has(this.kindAt(start))) return type;
      type = this.view.getUint32(start + 8, true);
    }
    throw new BtfError(`type ${id} is nested too deeply`);
  }

  /** Decodes a type. @throws BtfError for void and for numbers there are no types for */
  type(id: number): BtfType {
    const start = this.start(id);
    const { view } = this;
    const info = view.getUint32(start + 4, true);
    const vlen = info & 0xffff;
    const flag = info >>> 31 === 1;
    const sizeOrType = view.getUint32(start + 8, true);
    const name = this.text(view.getUint32(start, true));
    const kind = this.kindOf(id);
    const extra = start + TYPE_HEADER_SIZE;
    const each = <T>(size: number, decode: (at: number) => T): T[] =>
      Array.from({ length: vlen }, (_, i) => decode(extra + i * size));
    switch (kind) {
      case "int": {
        const data = view.getUint32(extra, true);
        return {
          kind,
          name,
          size: sizeOrType,
          bits: data & 0xff,
          bitOffset: (data >> 16) & 0xff,
          encoding: (data >> 24) & 0xf,
        };
      }
      case "pointer":
      case "volatile":
      case "const":
      case "restrict":
        return { kind, type: sizeOrType };
      case "typedef":
      case "typeTag":
        return { kind, name, type: sizeOrType };
      case "array":
        return {
          kind,
          type: view.getUint32(extra, true),
          indexType: view.getUint32(extra + 4, true),
          length: view.getUint32(extra + 8, true),
        };
      case "struct":
      case "union":
        return { kind, name, size: sizeOrType, members: each(12, (at) => this.memberAt(at, flag)) };
      case "enum":
        return {
          kind,
          name,
          size: sizeOrType,
          signed: flag,
          values: each(8, (at) => ({
            name: this.text(view.getUint32(at, true)),
            value: BigInt(flag ? view.getInt32(at + 4, true) : view.getUint32(at + 4, true)),
          })),
        };
      case "enum64":
        return {
          kind,
          name,
          size: sizeOrType,
          signed: flag,
          values: each(12, (at) => ({
            name: this.text(view.getUint32(at, true)),
            value: flag ? view.getBigInt64(at + 4, true) : view.getBigUint64(at + 4, true),
          })),
        };
      case "forward":
        return { kind, name, union: flag };
      case "function":
        return { kind, name, type: sizeOrType, linkage: vlen };
      case "functionPrototype":
        return {
          kind,
          returns: sizeOrType,
          parameters: each(8, (at) => ({
            name: this.text(view.getUint32(at, true)),
            type: view.getUint32(at + 4, true),
          })),
        };
      case "variable":
        return { kind, name, type: sizeOrType, linkage: view.getUint32(extra, true) };
      case "dataSection":
        return {
          kind,
          name,
          size: sizeOrType,
          variables: each(12, (at) => ({
            type: view.getUint32(at, true),
            offset: view.getUint32(at + 4, true),
            size: view.getUint32(at + 8, true),
          })),
        };
      case "float":
        return { kind, name, size: sizeOrType };
      case "declarationTag":
        return { kind, name, type: sizeOrType, component: view.getInt32(extra, true) };
      default:
        throw new BtfError("void has no description");
    }
  }

  /** A string by its offset in the string section. */
  text(offset: number): string {
    const from = this.strings.start + offset;
    if (from >= this.strings.end) throw new BtfError(`string ${offset} is outside the string section`);
    const end = this.bytes.indexOf(0, from);
    return new TextDecoder().decode(this.bytes.subarray(from, end));
  }

  private locate(start: number, end: number): Uint32Array {
    const { view } = this;
    // No type is smaller than its header.
    const starts = new Uint32Array(Math.floor((end - start) / TYPE_HEADER_SIZE) + 1);
    let count = 1;
    let at = start;
    while (at < end) {
      if (at + TYPE_HEADER_SIZE > end) throw new BtfError(`type ${count} is cut off`);
      const info = view.getUint32(at + 4, true);
      const kind = (info >> 24) & 0x1f;
      if (kind === 0 || kind >= kindNames.length) throw new BtfError(`type ${count} has the unknown kind ${kind}`);
      starts[count++] = at;
      const extra = extraSize[kind];
      at += TYPE_HEADER_SIZE + (extra ? extra.fixed + extra.perMember * (info & 0xffff) : 0);
    }
    if (at !== end) throw new BtfError(`type ${count - 1} is cut off`);
    return starts.slice(0, count);
  }

  private start(id: number): number {
    const start = id > 0 ? this.starts[id] : undefined;
    if (start === undefined) throw new BtfError(`there is no type ${id}`);
    return start;
  }

  private kindAt(start: number): number {
    return (this.view.getUint32(start + 4, true) >> 24) & 0x1f;
  }

  private indexKind(kind: number): Map<string, number> {
    const names = new Map<string, number>();
    for (let id = 1; id < this.starts.length; id++) {
      const start = this.starts[id];
      if (this.kindAt(start) !== kind) continue;
      const offset = this.view.getUint32(start, true);
      if (offset === 0) continue;
      const name = this.text(offset);
      if (!names.has(name)) names.set(name, id);
    }
    return names;
  }

  private memberAt(at: number, hasBitFields: boolean): BtfMember {
    const place = this.view.getUint32(at + 8, true);
    return {
      name: this.text(this.view.getUint32(at, true)),
      type: this.view.getUint32(at + 4, true),
      bitOffset: hasBitFields ? place & 0xff_ffff : place,
      bitSize: hasBitFields ? place >>> 24 : 0,
    };
  }

  /** A member by name, looked for in anonymous members too. */
  private member(id: number, name: string, depth: number): Omit<BtfMember, "name"> | undefined {
    if (depth > MAX_DEPTH) throw new BtfError(`type ${id} is nested too deeply`);
    const type = this.type(this.skipModifiers(id));
    if (type.kind !== "struct" && type.kind !== "union") return undefined;
    for (const candidate of type.members) {
      if (candidate.name === name) return candidate;
      if (candidate.name !== "") continue;
      const inner = this.member(candidate.type, name, depth + 1);
      if (inner) return { ...inner, bitOffset: candidate.bitOffset + inner.bitOffset };
    }
    return undefined;
  }
}
