/**
 * Programs and their maps as an object file that bpftool and libbpf (>= 0.6) load: one section per kind of program, named as
 * all of libbpf's versions know it, maps in .maps, arrays that programs address directly as data sections of their own,
 * types and source lines in .BTF and .BTF.ext.
 */
import { BtfBuilder } from "../btf/builder.ts";
import { encode, slotIndex } from "../encode.ts";
import { namesMap, type Instruction, type MapReference, type Reference } from "../instruction.ts";
import { CallSource, Control, InstructionClass, SLOT_SIZE } from "../opcodes.ts";
import { describeProgram, identifier, words } from "../program-info.ts";
import type { MapSpec, ProgramSpec } from "../spec.ts";
import {
  ElfError,
  join,
  pack,
  SectionFlag,
  SectionType,
  SymbolType,
  WIDE_RELOCATION,
  writeContainer,
  type ElfSymbol,
} from "./container.ts";
import { FieldNames } from "./field-relocations.ts";
import { MapTypes, type MapLayout } from "./map-types.ts";

export interface ObjectSpec {
  /** By the names of their functions, which become identifiers. */
  readonly programs: Readonly<Record<string, ProgramSpec>>;
  /** Maps that programs share, by the key used in references; more than what the programs name. */
  readonly maps?: Readonly<Record<string, MapSpec>>;
  /** What is in maps, by their keys: tools show it by name. */
  readonly layouts?: Readonly<Record<string, MapLayout>>;
}

type SectionInput = Parameters<typeof writeContainer>[0][number];

/** A program's place in its section. */
interface Placed {
  readonly name: string;
  readonly spec: ProgramSpec;
  /** Bytes from the start of the section. */
  readonly start: number;
}

/** @throws ElfError for what an object file, or libbpf, has no way to say */
export function writeElf(object: ObjectSpec): Uint8Array {
  const builder = new BtfBuilder();
  const types = new MapTypes(builder);
  const fields = new FieldNames(builder);
  const maps = mapsOf(object);
  const addressed = addressedDirectly(object, maps);
  const sections: SectionInput[] = [];
  const symbols: ElfSymbol[] = [];
  const symbolNumbers = new Map<string, number>();
  const add = (name: string, bytes: Uint8Array, flags = 0, type: number = SectionType.program, info = 0): number =>
    sections.push({ name, type, flags, bytes, info });

  const data = SectionFlag.allocate | SectionFlag.write;
  for (const key of addressed) {
    const name = identifier(key);
    const bytes = initialValue(key, maps[key]);
    const section = add(`.data.${name}`, bytes, data);
    types.section(`.data.${name}`, [types.data(name, maps[key], object.layouts?.[key])]);
    symbols.push({ name, type: SymbolType.object, section, value: 0, size: bytes.length });
    symbolNumbers.set(key, symbols.length);
  }
  const defined = Object.entries(maps).filter(([key]) => !addressed.has(key));
  const variables = defined.map(([key, spec]) =>
    types.definition(identifier(key), refuseContents(key, spec), object.layouts?.[key]),
  );
  if (defined.length > 0) {
    types.section(".maps", variables);
    const section = add(".maps", new Uint8Array(variables.reduce((sum, { size }) => sum + size, 0)), data);
    let value = 0;
    defined.forEach(([key], i) => {
      symbols.push({ name: identifier(key), type: SymbolType.object, section, value, size: variables[i].size });
      symbolNumbers.set(key, symbols.length);
      value += variables[i].size;
    });
  }

  const info: Record<"functions" | "lines" | "fields", Uint8Array[]> = { functions: [], lines: [], fields: [] };
  for (const [name, programs] of bySection(object)) {
    const codes = programs.map(({ spec }) => encodeProgram(spec, fields));
    const code = add(name, join(codes), SectionFlag.allocate | SectionFlag.execute);
    programs.forEach((program, i) => {
      const place = { section: code, value: program.start, size: codes[i].length };
      symbols.push({ name: program.name, type: SymbolType.function, ...place });
    });
    const relocations = programs.flatMap((program) => relocationsOf(program, symbolNumbers));
    if (relocations.length > 0) add(`.rel${name}`, join(relocations), 0, SectionType.relocations, code);
    const records = programs.map((program) => recordsOf(program, builder, fields));
    for (const kind of ["functions", "lines", "fields"] as const) {
      const all = records.flatMap((record) => record[kind]);
      if (all.length > 0) info[kind].push(words([[builder.addString(name), all.length], ...all]));
    }
  }
  add("license", new TextEncoder().encode("GPL\0"), data);
  add(".BTF.ext", extendedInfo(info.functions, info.lines, info.fields));
  add(".BTF", builder.build());
  return writeContainer(sections, symbols);
}

/** The name by which every libbpf from 1.0 on knows what kind of program it is; tcx has none that old ones know. */
export function sectionName({ name, type, attachTarget }: ProgramSpec): string {
  switch (type) {
    case "xdp":
      return "xdp";
    case "schedCls":
      return "tc";
    case "sockOps":
      return "sockops";
    case "tracing":
      if (attachTarget?.startsWith("bpf_iter_")) return `iter/${attachTarget.slice("bpf_iter_".length)}`;
      break;
    case "structOps":
      break;
  }
  throw new ElfError(`Cannot write program ${name} to an object file: ${type} programs have no section there`);
}

function bySection({ programs }: ObjectSpec): Map<string, Placed[]> {
  const sections = new Map<string, Placed[]>();
  for (const [key, spec] of Object.entries(programs)) {
    const name = sectionName(spec);
    const before = sections.get(name) ?? [];
    const last = before.at(-1);
    const start = last ? last.start + SLOT_SIZE * slotIndex(last.spec.instructions).at(-1)! : 0;
    sections.set(name, [...before, { name: identifier(key), spec, start }]);
  }
  return sections;
}

function mapsOf({ programs, maps }: ObjectSpec): Record<string, MapSpec> {
  return Object.assign({}, ...Object.values(programs).map((spec) => spec.maps), maps) as Record<string, MapSpec>;
}

/** Maps that instructions address directly, which libbpf allows for data sections only. */
function addressedDirectly({ programs }: ObjectSpec, maps: Readonly<Record<string, MapSpec>>): ReadonlySet<string> {
  const references = Object.values(programs).flatMap(({ instructions }) =>
    instructions.flatMap(({ reference }) => (namesMap(reference) ? [reference] : [])),
  );
  const keys = new Set(references.flatMap(({ kind, map }) => (kind === "mapValue" ? [map] : [])));
  for (const { kind, map } of references)
    if (kind === "map" && keys.has(map))
      throw new ElfError(
        `Cannot write map ${map} to an object file: programs both address its value and pass it to helpers, and libbpf has no maps for both`,
      );
  for (const key of keys) {
    const { type, maxEntries, flags = 0 } = maps[key];
    if (type !== "array" || maxEntries !== 1 || flags !== 0)
      throw new ElfError(
        `Cannot write map ${key} to an object file: programs address its value, and libbpf makes only plain arrays of one entry for that`,
      );
  }
  return keys;
}

function initialValue(key: string, { valueSize, contents = [] }: MapSpec): Uint8Array {
  const value = contents[0]?.value ?? new Uint8Array(valueSize);
  if (value.length !== valueSize)
    throw new ElfError(`Cannot write map ${key} to an object file: its value is not of ${valueSize} bytes`);
  return value;
}

function refuseContents(key: string, spec: MapSpec): MapSpec {
  if (spec.contents?.length)
    throw new ElfError(`Cannot write map ${key} to an object file: it has contents, and libbpf makes such maps empty`);
  return spec;
}

/** References become what a loader expects in their place: 0 or the offset in the section, and the source register 0. */
function encodeProgram({ name, instructions }: ProgramSpec, fields: FieldNames): Uint8Array {
  return encode(
    instructions.map((instruction): Instruction => {
      const { opcode, src, reference, ...rest } = instruction;
      if (opcode === (InstructionClass.jump64 | Control.call) && src === CallSource.function)
        throw new ElfError(`Cannot write program ${name} to an object file: it calls functions of its own`);
      if (reference === undefined) return instruction;
      if (reference.kind === "field")
        return { ...rest, opcode, src, offset: fields.of(instruction, reference.struct, reference.field).offset };
      if (!namesMap(reference))
        throw new ElfError(
          `Cannot write program ${name} to an object file: it needs ${kernelOnly(reference)}, which is found when emptcp loads it`,
        );
      return { ...rest, opcode, src: 0, wide: reference.kind === "mapValue" ? BigInt(reference.offset) : 0n };
    }),
  );
}

/** What is told to no loader but this project's. */
function kernelOnly(reference: Exclude<Reference, MapReference | { kind: "field" }>): string {
  switch (reference.kind) {
    case "fieldOffset":
      return `the offset of ${reference.struct}.${reference.field} as a number`;
    case "bitField":
      return `the bits of ${reference.struct}.${reference.field}`;
    case "type":
      return `the kernel's number of struct ${reference.struct}`;
    case "function":
      return `the kernel function ${reference.name}`;
  }
}

function relocationsOf({ spec, start }: Placed, symbols: ReadonlyMap<string, number>): Uint8Array[] {
  const slots = slotIndex(spec.instructions);
  return spec.instructions.flatMap(({ reference }, i) => {
    if (!namesMap(reference)) return [];
    const symbol = symbols.get(reference.map);
    if (symbol === undefined) throw new ElfError(`Cannot write program ${spec.name}: it has no map ${reference.map}`);
    return [
      pack([
        [8, start + SLOT_SIZE * slots[i]],
        [4, WIDE_RELOCATION],
        [4, symbol],
      ]),
    ];
  });
}

/** What .BTF.ext says of a program, places in bytes of the section. */
function recordsOf({ name, spec, start }: Placed, builder: BtfBuilder, fields: FieldNames) {
  const inBytes = ([slot, ...rest]: readonly number[]): number[] => [start + SLOT_SIZE * slot, ...rest];
  const { functions, lines } = describeProgram(spec, builder, name);
  const slots = slotIndex(spec.instructions);
  return {
    functions: functions.map(inBytes),
    lines: lines.map(inBytes),
    fields: spec.instructions.flatMap((instruction, i) => {
      const { reference } = instruction;
      if (reference?.kind !== "field") return [];
      return [inBytes([slots[i], ...fields.of(instruction, reference.struct, reference.field).record])];
    }),
  };
}

/** `struct btf_ext_header` and its three parts: the size of a record, then for each section its name, a count, the records. */
function extendedInfo(...parts: readonly (readonly Uint8Array[])[]): Uint8Array {
  const recordSizes = [8, 16, 16];
  const bodies = parts.map((blocks, i) =>
    blocks.length > 0 ? join([words([[recordSizes[i]]]), ...blocks]) : new Uint8Array(0),
  );
  const HEADER_SIZE = 32;
  let at = 0;
  const ranges = bodies.flatMap(({ length }) => {
    const offset = at;
    at += length;
    return [offset, length];
  });
  return join([
    pack([
      [2, 0xeb9f],
      [1, 1],
      [1, 0],
    ]),
    words([[HEADER_SIZE, ...ranges]]),
    ...bodies,
  ]);
}
