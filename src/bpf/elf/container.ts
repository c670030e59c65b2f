/**
 * The outer form of an object file: sections and symbols, to and from bytes. Relocatable ELF of 64 bits, little-endian, for
 * the machine EM_BPF (System V ABI, chapters 4 and 5; include/uapi/linux/elf.h).
 */

/** What a section holds. */
export const SectionType = { program: 1, symbols: 2, strings: 3, noBits: 8, relocations: 9 } as const;
/** Bits of a section's flags. */
export const SectionFlag = { write: 1, allocate: 2, execute: 4 } as const;
/** What a symbol names. */
export const SymbolType = { none: 0, object: 1, function: 2, section: 3 } as const;

export interface ElfSection {
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  /** Empty for a section without bits. */
  readonly bytes: Uint8Array;
  readonly size: number;
  /** Relocations: the section they are about. */
  readonly info: number;
}

export interface ElfSymbol {
  readonly name: string;
  readonly type: number;
  /** The section's number. */
  readonly section: number;
  /** Bytes from the start of its section. */
  readonly value: number;
  readonly size: number;
}

export interface ElfContainer {
  /** By their numbers; 0 is the empty one. */
  readonly sections: readonly ElfSection[];
  readonly symbols: readonly ElfSymbol[];
}

/** An object file that cannot be read, or a program that cannot be written as one. */
export class ElfError extends Error {
  override readonly name = "ElfError";
}

const HEADER_SIZE = 64;
const SYMBOL_SIZE = 24;
/** Bytes of a relocation without addend: place, type, symbol. */
/** The section of symbols that are defined elsewhere. */
export const UNDEFINED_SECTION = 0;
export const RELOCATION_SIZE = 16;
/** R_BPF_64_64: the address of a symbol in a wide load. */
export const WIDE_RELOCATION = 1;
const EM_BPF = 247;
const ET_REL = 1;
const GLOBAL = 1;

export const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Whole numbers one after the other, each of its number of bytes. */
export function pack(fields: readonly (readonly [bytes: 1 | 2 | 4 | 8, value: number])[]): Uint8Array {
  const packed = new Uint8Array(fields.reduce((sum, [size]) => sum + size, 0));
  const view = viewOf(packed);
  let at = 0;
  for (const [size, value] of fields) {
    if (size === 8) view.setBigUint64(at, BigInt(value), true);
    else if (size === 4) view.setUint32(at, value, true);
    else if (size === 2) view.setUint16(at, value, true);
    else view.setUint8(at, value);
    at += size;
  }
  return packed;
}

export function join(parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

class StringTable {
  readonly #offsets = new Map<string, number>([["", 0]]);
  readonly #parts: Uint8Array[] = [Uint8Array.of(0)];
  #size = 1;

  add(text: string): number {
    const known = this.#offsets.get(text);
    if (known !== undefined) return known;
    const offset = this.#size;
    const bytes = new TextEncoder().encode(`${text}\0`);
    this.#parts.push(bytes);
    this.#size += bytes.length;
    this.#offsets.set(text, offset);
    return offset;
  }

  bytes(): Uint8Array {
    return join(this.#parts);
  }
}

const aligned = (at: number): number => (at + 7) & ~7;

/**
 * The file. `sections` are numbered from 1 in their order; the symbol table, whose symbols are all global and numbered from 1
 * too, and the table of names come behind them.
 */
export function writeContainer(
  sections: readonly Pick<ElfSection, "name" | "type" | "flags" | "bytes" | "info">[],
  symbols: readonly ElfSymbol[],
): Uint8Array {
  const names = new StringTable();
  const table = sections.length + 1;
  const symbolBytes = symbols.map(({ name, type, section, value, size }) =>
    pack([
      [4, names.add(name)],
      [1, (GLOBAL << 4) | type],
      [1, 0],
      [2, section],
      [8, value],
      [8, size],
    ]),
  );
  const all = [
    ...sections.map(({ name, type, flags, bytes, info }) =>
      type === SectionType.relocations
        ? { name, type, flags, bytes, info, link: table, entry: RELOCATION_SIZE }
        : { name, type, flags, bytes, info, link: 0, entry: 0 },
    ),
    {
      name: ".symtab",
      type: SectionType.symbols,
      flags: 0,
      entry: SYMBOL_SIZE,
      link: table + 1,
      // The number of the first symbol that is not local.
      info: 1,
      bytes: join([new Uint8Array(SYMBOL_SIZE), ...symbolBytes]),
    },
    { name: ".strtab", type: SectionType.strings, flags: 0, bytes: new Uint8Array(0), info: 0, link: 0, entry: 0 },
  ];
  const nameOffsets = all.map(({ name }) => names.add(name));
  all[table].bytes = names.bytes();

  let at = HEADER_SIZE;
  const headers = all.map(({ type, flags, bytes, link, info, entry }, i) => {
    const header: [4 | 8, number][] = [
      [4, nameOffsets[i]],
      [4, type],
      [8, flags],
      [8, 0],
      [8, at],
      [8, bytes.length],
      [4, link],
      [4, info],
      [8, 8],
      [8, entry],
    ];
    at = aligned(at + bytes.length);
    return pack(header);
  });
  const fileHeader = pack([
    [2, ET_REL],
    [2, EM_BPF],
    [4, 1],
    [8, 0],
    [8, 0],
    [8, at],
    [4, 0],
    [2, HEADER_SIZE],
    [2, 0],
    [2, 0],
    [2, HEADER_SIZE],
    [2, all.length + 1],
    [2, table + 1],
  ]);
  const identity = Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, ...new Uint8Array(9));
  const contents = all.flatMap(({ bytes }) => [bytes, new Uint8Array(aligned(bytes.length) - bytes.length)]);
  return join([identity, fileHeader, ...contents, new Uint8Array(HEADER_SIZE), ...headers]);
}

/** @throws ElfError when the file is no such object, or cut short */
export function readContainer(file: Uint8Array): ElfContainer {
  const view = viewOf(file);
  if (file.length < HEADER_SIZE || view.getUint32(0) !== 0x7f454c46 || file[4] !== 2 || file[5] !== 1)
    throw new ElfError("Cannot read object file: it is no 64-bit little-endian ELF");
  try {
    return readTables(file, view);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new ElfError("Cannot read object file: a table in it reaches beyond its end", { cause: error });
  }
}

function part(file: Uint8Array, offset: number, length: number): Uint8Array {
  if (offset + length > file.length) throw new RangeError(`Bytes ${offset} to ${offset + length} are not in the file`);
  return new Uint8Array(file.subarray(offset, offset + length));
}

function readTables(file: Uint8Array, view: DataView): ElfContainer {
  const start = Number(view.getBigUint64(40, true));
  const [size, count, names] = [58, 60, 62].map((at) => view.getUint16(at, true)) as [number, number, number];
  const headers = Array.from({ length: count }, (_, i) => viewOf(part(file, start + i * size, HEADER_SIZE)));
  const contents = headers.map((header) => {
    const [offset, length] = [24, 32].map((at) => Number(header.getBigUint64(at, true))) as [number, number];
    const type = header.getUint32(4, true);
    if (type === SectionType.noBits || type === 0) return new Uint8Array(0);
    return part(file, offset, length);
  });
  const sections = headers.map((header, i): ElfSection => ({
    name: text(contents[names], header.getUint32(0, true)),
    type: header.getUint32(4, true),
    flags: Number(header.getBigUint64(8, true)),
    bytes: contents[i],
    size: Number(header.getBigUint64(32, true)),
    info: header.getUint32(44, true),
  }));
  const table = sections.findIndex(({ type }) => type === SectionType.symbols);
  if (table < 0) return { sections, symbols: [] };
  return { sections, symbols: readSymbols(contents[table], contents[headers[table].getUint32(40, true)]) };
}

function readSymbols(bytes: Uint8Array, names: Uint8Array | undefined): ElfSymbol[] {
  if (!names) throw new ElfError("Cannot read object file: its symbols have no names");
  const view = viewOf(bytes);
  return Array.from({ length: Math.floor(bytes.length / SYMBOL_SIZE) }, (_, i) => ({
    name: text(names, view.getUint32(i * SYMBOL_SIZE, true)),
    type: view.getUint8(i * SYMBOL_SIZE + 4) & 0xf,
    section: view.getUint16(i * SYMBOL_SIZE + 6, true),
    value: Number(view.getBigUint64(i * SYMBOL_SIZE + 8, true)),
    size: Number(view.getBigUint64(i * SYMBOL_SIZE + 16, true)),
  }));
}

function text(bytes: Uint8Array | undefined, at: number): string {
  if (!bytes) throw new ElfError("Cannot read object file: its sections have no names");
  const end = bytes.indexOf(0, at);
  return new TextDecoder().decode(bytes.subarray(at, end < 0 ? bytes.length : end));
}
