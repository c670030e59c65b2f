/**
 * Object files as clang makes them for the BPF target, and as `writeElf` does: programs with maps and global variables as
 * references. Relocations as in the kernel's Documentation/bpf/llvm_reloc.rst.
 */
import { Btf, BtfError } from "../btf/btf.ts";
import { decode } from "../decode.ts";
import { namesMap, type Instruction, type MapReference, type SourcePosition } from "../instruction.ts";
import { SLOT_SIZE, WIDE_LOAD, WideSource } from "../opcodes.ts";
import { slotIndex } from "../encode.ts";
import { MapType, type MapSpec, type MapTypeName } from "../spec.ts";
import {
  ElfError,
  readContainer,
  RELOCATION_SIZE,
  SectionFlag,
  SectionType,
  SymbolType,
  UNDEFINED_SECTION,
  viewOf,
  WIDE_RELOCATION,
  type ElfContainer,
  type ElfSection,
  type ElfSymbol,
} from "./container.ts";
import { readSourceLines, type SourceLine } from "./source-lines.ts";

export interface ElfProgram {
  /** Of its function. */
  readonly name: string;
  /** Says what kind of program it is. */
  readonly section: string;
  readonly instructions: readonly Instruction[];
}

export interface ElfObject {
  /** Text of the section `license`; empty without one. */
  readonly license: string;
  readonly programs: readonly ElfProgram[];
  /** Maps by their symbols; global variables are one array map for each section, named after it. */
  readonly maps: Readonly<Record<string, MapSpec>>;
}

const mapTypes = new Map(Object.entries(MapType).map(([name, number]) => [number as number, name as MapTypeName]));
const READ_ONLY_FOR_PROGRAMS = 1 << 7;

/** What a symbol that the file does not define stands for: a map, an address in one, or a number. */
export type External = MapReference | bigint;

/**
 * @param external says what symbols are that the file does not define; by default none may be left
 * @throws ElfError when the file is no such object, or refers to what is not known here
 */
export function readElf(
  file: Uint8Array,
  external: (name: string) => External | undefined = () => undefined,
): ElfObject {
  const container = readContainer(file);
  const { sections, symbols } = container;
  const btf = readBtf(sections);
  const maps = readMaps(container, btf);
  const lines = readLines(sections, btf);
  const programs = symbols
    .filter(({ type, section }) => type === SymbolType.function && isCode(sections[section]))
    .sort((a, b) => a.section - b.section || a.value - b.value)
    .map((symbol) => {
      const program = readProgram(symbol, container, maps, external);
      const instructions = withLines(program.instructions, symbol.value, lines.get(program.section) ?? []);
      return { ...program, instructions };
    });
  const license = sections.find(({ name }) => name === "license")?.bytes ?? new Uint8Array(0);
  return { license: textOf(license), programs, maps };
}

/**
 * The program in the section called `section`, with the maps it refers to.
 * @throws ElfError
 */
export function readElfProgram(
  file: Uint8Array,
  section: string,
): Pick<ElfProgram, "instructions"> & Pick<ElfObject, "maps"> {
  const { programs, maps } = readElf(file);
  const found = programs.find((program) => program.section === section);
  if (!found) throw new ElfError(`Cannot read object file: it has no program in a section ${section}`);
  const used = new Set(found.instructions.flatMap(({ reference }) => (namesMap(reference) ? [reference.map] : [])));
  return {
    instructions: found.instructions,
    maps: Object.fromEntries(Object.entries(maps).filter(([key]) => used.has(key))),
  };
}

function readBtf(sections: readonly ElfSection[]): Btf | undefined {
  const found = sections.find(({ name }) => name === ".BTF");
  try {
    return found && new Btf(found.bytes);
  } catch (error) {
    if (!(error instanceof BtfError)) throw error;
    throw new ElfError(`Cannot read object file: ${error.message}`, { cause: error });
  }
}

function readLines(sections: readonly ElfSection[], btf: Btf | undefined): ReadonlyMap<string, readonly SourceLine[]> {
  const info = sections.find(({ name }) => name === ".BTF.ext");
  if (!info || !btf) return new Map();
  try {
    return readSourceLines(info.bytes, btf);
  } catch (error) {
    if (!(error instanceof RangeError || error instanceof BtfError)) throw error;
    throw new ElfError("Cannot read object file: its source lines are cut off", { cause: error });
  }
}

/** `start` is where in their section the instructions begin. */
function withLines(
  instructions: readonly Instruction[],
  start: number,
  lines: readonly SourceLine[],
): readonly Instruction[] {
  const places = slotIndex(instructions).map((slot) => start + SLOT_SIZE * slot);
  let next = lines.findIndex(({ place }) => place >= start);
  if (next < 0) return instructions;
  let position: SourcePosition | undefined;
  return instructions.map((instruction, i) => {
    while (next < lines.length && lines[next].place <= places[i]) position = lines[next++].position;
    return position ? { ...instruction, position } : instruction;
  });
}

function isCode(section: ElfSection | undefined): boolean {
  return section !== undefined && (section.flags & SectionFlag.execute) !== 0 && section.name !== ".text";
}

const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes).replace(/\0.*$/s, "");

function readProgram(
  symbol: ElfSymbol,
  container: ElfContainer,
  maps: Readonly<Record<string, MapSpec>>,
  external: (name: string) => External | undefined,
): ElfProgram {
  const { sections, symbols } = container;
  const section = sections[symbol.section];
  const end = symbol.value + symbol.size;
  const instructions = decode(section.bytes.subarray(symbol.value, end));
  const indexOfSlot = new Map(slotIndex(instructions).map((slot, index) => [slot, index]));
  for (const { type, info, bytes } of sections) {
    if (type !== SectionType.relocations || info !== symbol.section) continue;
    const view = viewOf(bytes);
    for (let at = 0; at + RELOCATION_SIZE <= bytes.length; at += RELOCATION_SIZE) {
      const place = Number(view.getBigUint64(at, true));
      if (place < symbol.value || place >= end) continue;
      const index = indexOfSlot.get((place - symbol.value) / SLOT_SIZE);
      const target = symbols[view.getUint32(at + 12, true)];
      if (
        index === undefined ||
        !target ||
        view.getUint32(at + 8, true) !== WIDE_RELOCATION ||
        instructions[index].opcode !== WIDE_LOAD
      )
        throw new ElfError(
          `Cannot read object file: relocation ${at / RELOCATION_SIZE} of ${section.name} is not of a map or a variable; functions that are not inlined are not known`,
        );
      const meant = target.section === UNDEFINED_SECTION ? external(target.name) : undefined;
      instructions[index] =
        meant === undefined
          ? refer(instructions[index], target, sections[target.section], maps)
          : referOutside(instructions[index], meant);
    }
  }
  return { name: symbol.name, section: section.name, instructions };
}

function referOutside({ wide = 0n, ...load }: Instruction, meant: External): Instruction {
  const addend = wide & 0xffff_ffffn;
  if (typeof meant === "bigint") return { ...load, src: WideSource.value, imm: 0, wide: meant + addend };
  if (meant.kind === "map") return { ...load, src: WideSource.mapFd, imm: 0, reference: meant };
  const reference = { ...meant, offset: meant.offset + Number(addend) };
  return { ...load, src: WideSource.mapValue, imm: 0, reference };
}

function refer(
  load: Instruction,
  symbol: ElfSymbol,
  section: ElfSection | undefined,
  maps: Readonly<Record<string, MapSpec>>,
): Instruction {
  const { wide = 0n, ...bare } = load;
  if (section && isMaps(section.name) && maps[symbol.name])
    return { ...bare, src: WideSource.mapFd, imm: 0, reference: { kind: "map", map: symbol.name } };
  if (!section || !maps[section.name])
    throw new ElfError(
      `Cannot read object file: it refers to ${section?.name || symbol.name || "nothing"}; only maps and global variables are known`,
    );
  const offset = symbol.value + Number(wide & 0xffff_ffffn);
  return { ...bare, src: WideSource.mapValue, imm: 0, reference: { kind: "mapValue", map: section.name, offset } };
}

// Maps

/** `.maps` describes its maps with BTF; `maps`, as loaders before libbpf 1.0 have it, with four words each. */
const isMaps = (section: string): boolean => section === ".maps" || section === "maps";
const isData = ({ name, size, flags }: ElfSection): boolean =>
  /^\.(data|rodata|bss)(\.|$)/.test(name) && size > 0 && (flags & SectionFlag.allocate) !== 0;

function readMaps({ sections, symbols }: ElfContainer, btf: Btf | undefined): Record<string, MapSpec> {
  const maps: Record<string, MapSpec> = {};
  for (const section of sections)
    if (isData(section)) maps[section.name] = { ...dataMap(section), ...lockInSection(btf, section.name) };
  for (const symbol of symbols) {
    const section = sections[symbol.section];
    if (!section || !isMaps(section.name) || symbol.name === "") continue;
    if (section.name === "maps") maps[symbol.name] = wordsToMap(symbol, viewOf(section.bytes));
    else maps[symbol.name] = typeToMap(symbol.name, btf);
  }
  return maps;
}

/** Names of maps have at most 15 characters. */
const shorten = (name: string): string => name.replace(/^\./, "").slice(0, 15);

function dataMap({ name, size, bytes }: ElfSection): MapSpec {
  const shape = { name: shorten(name), type: "array", keySize: 4, valueSize: size, maxEntries: 1 } as const;
  const flags = name.startsWith(".rodata") ? { flags: READ_ONLY_FOR_PROGRAMS } : {};
  if (!bytes.some((byte) => byte !== 0)) return { ...shape, ...flags };
  return { ...shape, ...flags, contents: [{ key: new Uint8Array(4), value: bytes }] };
}

function wordsToMap(symbol: ElfSymbol, view: DataView): MapSpec {
  const [type, keySize, valueSize, maxEntries] = [0, 4, 8, 12].map((at) => view.getUint32(symbol.value + at, true)) as [
    number,
    number,
    number,
    number,
  ];
  return { name: shorten(symbol.name), type: typeName(symbol.name, type), keySize, valueSize, maxEntries };
}

function typeName(map: string, type: number): MapTypeName {
  const name = mapTypes.get(type);
  if (!name) throw new ElfError(`Cannot read object file: map ${map} is of the unknown type ${type}`);
  return name;
}

/** A map's definition, as bpf_helpers.h has it: a pointer to an array as long as the number, or a pointer to a type. */
function typeToMap(name: string, btf: Btf | undefined): MapSpec {
  if (!btf) throw new ElfError("Cannot read object file: it has maps but no BTF; compile it with -g");
  try {
    const variable = btf.type(btf.find("variable", name) ?? 0);
    const struct = variable.kind === "variable" ? btf.type(btf.skipModifiers(variable.type)) : variable;
    if (struct.kind !== "struct") throw new BtfError("it is no structure");
    const pointees = new Map(
      struct.members.flatMap(({ name: member, type }) => {
        const pointer = btf.type(btf.skipModifiers(type));
        return pointer.kind === "pointer" ? [[member, pointer.type] as const] : [];
      }),
    );
    const number = (member: string): number | undefined => {
      const array = pointees.has(member) ? btf.type(btf.skipModifiers(pointees.get(member)!)) : undefined;
      return array?.kind === "array" ? array.length : undefined;
    };
    const size = (part: "key" | "value"): number =>
      number(`${part}_size`) ?? (pointees.has(part) ? btf.sizeOf(pointees.get(part)!) : 0);
    const flags = number("map_flags") ?? 0;
    return {
      name: shorten(name),
      type: typeName(name, number("type") ?? 0),
      keySize: size("key"),
      valueSize: size("value"),
      maxEntries: number("max_entries") ?? 0,
      ...(flags !== 0 && { flags }),
      ...lockIn(btf, pointees.get("value")),
    };
  } catch (error) {
    if (!(error instanceof BtfError)) throw error;
    throw new ElfError(`Cannot read object file: map ${name} is not described: ${error.message}`, { cause: error });
  }
}

/** Where a value's lock is, if it has one. */
function lockIn(btf: Btf, value: number | undefined): Pick<MapSpec, "spinLockAt"> {
  const type = value === undefined ? undefined : btf.type(btf.skipModifiers(value));
  const lock =
    type?.kind === "struct" ? type.members.find((member) => btf.nameOf(member.type) === "bpf_spin_lock") : undefined;
  return lock ? { spinLockAt: lock.bitOffset / 8 } : {};
}

/** The same among the variables of a section; only where their places are told, as clang leaves that to linkers. */
function lockInSection(btf: Btf | undefined, name: string): Pick<MapSpec, "spinLockAt"> {
  const id = btf?.find("dataSection", name);
  const section = btf && id !== undefined ? btf.type(id) : undefined;
  if (!btf || section?.kind !== "dataSection" || section.size === 0) return {};
  for (const { type, offset } of section.variables) {
    const variable = btf.type(type);
    const lock = variable.kind === "variable" ? lockIn(btf, variable.type) : {};
    if (lock.spinLockAt !== undefined) return { spinLockAt: offset + lock.spinLockAt };
  }
  return {};
}
