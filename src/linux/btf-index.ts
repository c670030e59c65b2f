/**
 * Finds functions and fields in the kernel's BTF (Documentation/bpf/btf.rst) without building its 130 000 types: one pass
 * notes where each type begins, names are compared as bytes when someone asks.
 */
const MAGIC = 0xeb9f;
const TYPE_HEADER = 12;
const MEMBER = 12;

/** Kinds of types, and the bytes that follow the header: fixed, and per element of `vlen`. */
const kinds: Readonly<Record<number, readonly [fixed: number, perElement: number]>> = {
  1: [4, 0], // int
  2: [0, 0], // pointer
  3: [12, 0], // array
  4: [0, MEMBER], // struct
  5: [0, MEMBER], // union
  6: [0, 8], // enum
  7: [0, 0], // forward
  8: [0, 0], // typedef
  9: [0, 0], // volatile
  10: [0, 0], // const
  11: [0, 0], // restrict
  12: [0, 0], // function
  13: [0, 8], // prototype
  14: [4, 0], // variable
  15: [0, 12], // section
  16: [0, 0], // float
  17: [4, 0], // declaration tag
  18: [0, 0], // type tag
  19: [0, 12], // enum of 64 bits
};
const STRUCT = 4;
const UNION = 5;
const FUNCTION = 12;
/** Typedef, volatile, const, restrict, type tag: the type they stand for is in the size field. */
const transparent: ReadonlySet<number> = new Set([8, 9, 10, 11, 18]);

export interface BtfIndex {
  functionId(name: string): number | undefined;
  /** Whether there is a structure of that name. */
  hasStruct(name: string): boolean;
  /** Bytes from the start of the structure; undefined for what is not there and for bit fields off byte boundaries. */
  fieldOffset(struct: string, path: string): number | undefined;
}

/** Indexes BTF in little-endian. @throws TypeError for bytes that are not BTF or have unknown kinds */
export function indexBtf(bytes: Uint8Array): BtfIndex {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 24 || view.getUint16(0, true) !== MAGIC)
    throw new TypeError("Cannot read BTF: wrong magic number");
  const headerLength = view.getUint32(4, true);
  const typesStart = headerLength + view.getUint32(8, true);
  const typesEnd = typesStart + view.getUint32(12, true);
  const stringsStart = headerLength + view.getUint32(16, true);
  // Type 0 is void and has no bytes.
  const starts = [0];
  for (let at = typesStart; at < typesEnd;) {
    const info = view.getUint32(at + 4, true);
    const sizes = kinds[(info >>> 24) & 0x1f];
    if (!sizes) throw new TypeError(`Cannot read BTF: type ${starts.length} has unknown kind ${(info >>> 24) & 0x1f}`);
    starts.push(at);
    at += TYPE_HEADER + sizes[0] + sizes[1] * (info & 0xffff);
  }

  const kindOf = (id: number) => (id === 0 ? 0 : (view.getUint32(starts[id]! + 4, true) >>> 24) & 0x1f);
  const encoder = new TextEncoder();
  const known = new Map<string, number | undefined>();

  function isNamed(nameOffset: number, name: Uint8Array): boolean {
    const at = stringsStart + nameOffset;
    for (let index = 0; index < name.length; index++) if (bytes[at + index] !== name[index]) return false;
    return bytes[at + name.length] === 0;
  }

  function find(kind: number, name: string): number | undefined {
    const key = `${kind} ${name}`;
    if (known.has(key)) return known.get(key);
    const wanted = encoder.encode(name);
    let id: number | undefined;
    for (let candidate = 1; candidate < starts.length && id === undefined; candidate++) {
      if (kindOf(candidate) === kind && isNamed(view.getUint32(starts[candidate]!, true), wanted)) id = candidate;
    }
    known.set(key, id);
    return id;
  }

  function strip(id: number): number {
    let stripped = id;
    while (transparent.has(kindOf(stripped))) stripped = view.getUint32(starts[stripped]! + 8, true);
    return stripped;
  }

  /** Offset in bits and type of a member, also one of an anonymous member. */
  function member(struct: number, name: Uint8Array): { bits: number; type: number } | undefined {
    const kind = kindOf(struct);
    if (kind !== STRUCT && kind !== UNION) return undefined;
    const start = starts[struct]!;
    const info = view.getUint32(start + 4, true);
    for (let index = 0; index < (info & 0xffff); index++) {
      const at = start + TYPE_HEADER + index * MEMBER;
      const nameOffset = view.getUint32(at, true);
      const type = strip(view.getUint32(at + 4, true));
      const raw = view.getUint32(at + 8, true);
      // With bit fields in the structure the upper 8 bits are a width.
      const bits = info >>> 31 ? raw & 0xff_ffff : raw;
      if (nameOffset !== 0) {
        if (isNamed(nameOffset, name)) return { bits, type };
        continue;
      }
      const inner = member(type, name);
      if (inner) return { bits: bits + inner.bits, type: inner.type };
    }
    return undefined;
  }

  return {
    functionId: (name) => find(FUNCTION, name),
    hasStruct: (name) => find(STRUCT, name) !== undefined,
    fieldOffset(struct, path) {
      let type = find(STRUCT, struct);
      let bits = 0;
      for (const name of path.split(".")) {
        const found = type === undefined ? undefined : member(type, encoder.encode(name));
        if (!found) return undefined;
        bits += found.bits;
        type = found.type;
      }
      return bits % 8 === 0 ? bits / 8 : undefined;
    },
  };
}
