/**
 * Reads what clang makes for the BPF target: the program in one section, with maps and global variables as references.
 * Relocatable ELF, 64 bits, little-endian (System V ABI); relocations as in the kernel's Documentation/bpf/llvm_reloc.rst.
 */
import { decode } from "../bpf/decode.ts";
import type { Instruction } from "../bpf/instruction.ts";
import { MapType, type MapSpec, type MapTypeName } from "../bpf/spec.ts";

interface Section {
  readonly name: string;
  readonly type: number;
  readonly bytes: Uint8Array;
  readonly size: number;
  /** The symbol table's string table; the section that relocations are about. */
  readonly link: number;
  readonly info: number;
}

interface Symbol {
  readonly name: string;
  readonly section: number;
  /** Bytes from the start of its section. */
  readonly value: number;
}

export interface ElfProgram {
  readonly instructions: readonly Instruction[];
  /** Maps by their symbols; global variables are one array map named after their section. */
  readonly maps: Readonly<Record<string, MapSpec>>;
}

const symbolTable = 2;
const noBits = 8;
const relocations = 9;
/** R_BPF_64_64: the address of a symbol in a wide load. */
const wideRelocation = 1;

const mapTypes = new Map(Object.entries(MapType).map(([name, number]) => [number as number, name as MapTypeName]));
const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/**
 * The program in the section called `section`. Maps are symbols of the section "maps": type, key size, value size and
 * entries, 4 bytes each.
 * @throws Error when the file is no such object or refers to anything else
 */
export function readElfProgram(file: Uint8Array, section: string): ElfProgram {
  const sections = readSections(file);
  const code = sections.findIndex(({ name }) => name === section);
  if (code < 0) throw new Error(`Cannot read object file: it has no section ${section}`);
  const symbols = readSymbols(sections);
  const instructions = decode(sections[code].bytes);
  const bySlot = slotsOf(instructions);
  const maps: Record<string, MapSpec> = {};
  for (const { type, info, bytes } of sections) {
    if (type !== relocations || info !== code) continue;
    const view = viewOf(bytes);
    for (let at = 0; at < bytes.length; at += 16) {
      const index = bySlot.get(Number(view.getBigUint64(at, true)) / 8);
      const symbol = symbols[view.getUint32(at + 12, true)];
      if (index === undefined || !symbol || view.getUint32(at + 8, true) !== wideRelocation)
        throw new Error(`Cannot read object file: relocation ${at / 16} is not of a wide load`);
      instructions[index] = refer(instructions[index], symbol, sections[symbol.section], maps);
    }
  }
  return { instructions, maps };
}

/** Where a section's bytes are in the file: offset and length. */
function range(header: DataView): [number, number] {
  return [Number(header.getBigUint64(24, true)), Number(header.getBigUint64(32, true))];
}

function readSections(file: Uint8Array): Section[] {
  const view = viewOf(file);
  if (file.length < 64 || view.getUint32(0) !== 0x7f454c46 || file[4] !== 2 || file[5] !== 1)
    throw new Error("Cannot read object file: it is no 64-bit little-endian ELF");
  const start = Number(view.getBigUint64(40, true));
  const [size, count, names] = [58, 60, 62].map((at) => view.getUint16(at, true)) as [number, number, number];
  const headers = Array.from({ length: count }, (_, i) =>
    viewOf(file.subarray(start + i * size, start + (i + 1) * size)),
  );
  const [namesAt] = range(headers[names]);
  return headers.map((header) => {
    const [offset, length] = range(header);
    const type = header.getUint32(4, true);
    return {
      name: text(file, namesAt + header.getUint32(0, true)),
      type,
      bytes: type === noBits ? new Uint8Array(0) : file.slice(offset, offset + length),
      size: length,
      link: header.getUint32(40, true),
      info: header.getUint32(44, true),
    };
  });
}

function readSymbols(sections: readonly Section[]): Symbol[] {
  const table = sections.find(({ type }) => type === symbolTable);
  if (!table) return [];
  const names = sections[table.link].bytes;
  const view = viewOf(table.bytes);
  return Array.from({ length: table.bytes.length / 24 }, (_, i) => ({
    name: text(names, view.getUint32(i * 24, true)),
    section: view.getUint16(i * 24 + 6, true),
    value: Number(view.getBigUint64(i * 24 + 8, true)),
  }));
}

function text(bytes: Uint8Array, at: number): string {
  return new TextDecoder().decode(bytes.subarray(at, bytes.indexOf(0, at)));
}

/** Slot numbers, which relocations count in, to indices. */
function slotsOf(instructions: readonly Instruction[]): Map<number, number> {
  const bySlot = new Map<number, number>();
  let slot = 0;
  instructions.forEach(({ wide }, index) => {
    bySlot.set(slot, index);
    slot += wide === undefined ? 1 : 2;
  });
  return bySlot;
}

function refer(load: Instruction, symbol: Symbol, section: Section, maps: Record<string, MapSpec>): Instruction {
  const { wide, ...bare } = load;
  if (wide === undefined) throw new Error(`Cannot read object file: ${symbol.name} is referred to by no wide load`);
  if (section.name === "maps") {
    maps[symbol.name] = readMap(symbol, viewOf(section.bytes));
    return { ...bare, reference: { kind: "map", map: symbol.name } };
  }
  if (section.name !== ".bss")
    throw new Error(
      `Cannot read object file: it refers to ${section.name}; only maps and variables that start as zero are known`,
    );
  maps[section.name] = { name: "bss", type: "array", keySize: 4, valueSize: section.size, maxEntries: 1 };
  const offset = symbol.value + Number(wide & 0xffff_ffffn);
  return { ...bare, reference: { kind: "mapValue", map: section.name, offset } };
}

function readMap(symbol: Symbol, view: DataView): MapSpec {
  const [type, keySize, valueSize, maxEntries] = [0, 4, 8, 12].map((at) => view.getUint32(symbol.value + at, true)) as [
    number,
    number,
    number,
    number,
  ];
  const name = mapTypes.get(type);
  if (!name) throw new Error(`Cannot read object file: map ${symbol.name} is of the unknown type ${type}`);
  return { name: symbol.name.slice(0, 15), type: name, keySize, valueSize, maxEntries };
}
