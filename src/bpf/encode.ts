/** Instructions to bytes, little-endian (RFC 9669, section 3). */
import { namesMap, type Instruction, type MapReference, type Reference } from "./instruction.ts";
import { SLOT_SIZE, WIDE_LOAD } from "./opcodes.ts";

/** Gives references their numbers. */
export interface Resolver {
  /** A file descriptor. */
  map?(name: string): number;
  /** A byte offset; `size`, where given, is how many bytes the field must have. */
  field?(struct: string, field: string, size?: number): number;
  /** Where in the byte at a field's offset a bit field begins, and how many bits it has. */
  bitField?(struct: string, field: string): { readonly shift: number; readonly bits: number };
  /** The number of a structure among the kernel's types. */
  type?(struct: string): number;
  /** The number of a kernel function among the kernel's types. */
  function?(name: string): number;
}

/** A reference that nothing resolves, or a resolved number that does not fit. */
export class EncodeError extends Error {
  /** Index of the instruction. */
  readonly index: number;
  constructor(index: number, reason: string) {
    super(`Cannot encode instruction ${index}: ${reason}`);
    this.name = "EncodeError";
    this.index = index;
  }
}

/** The number of slots an instruction fills. */
export function slotsOf(instruction: Instruction): 1 | 2 {
  return instruction.opcode === WIDE_LOAD ? 2 : 1;
}

/** The number of slots a program fills: what jump offsets, `func_info` and `line_info` count. */
export function slots(instructions: readonly Instruction[]): number {
  let count = 0;
  for (const instruction of instructions) count += slotsOf(instruction);
  return count;
}

/** The slot at which each instruction begins, and at the end the number of slots. */
export function slotIndex(instructions: readonly Instruction[]): number[] {
  const index = [0];
  for (const instruction of instructions) index.push(index[index.length - 1] + slotsOf(instruction));
  return index;
}

/**
 * Encodes a program.
 * @throws EncodeError for a reference that the resolver does not resolve
 */
export function encode(instructions: readonly Instruction[], resolver: Resolver = {}): Uint8Array {
  const bytes = new Uint8Array(slots(instructions) * SLOT_SIZE);
  const view = new DataView(bytes.buffer);
  let at = 0;
  instructions.forEach((instruction, index) => {
    const { reference } = instruction;
    let { offset, imm } = instruction;
    let wide = instruction.wide ?? BigInt.asUintN(32, BigInt(instruction.imm));
    if (namesMap(reference)) wide = mapNumber(index, reference, resolver);
    else if (reference?.kind === "field") offset = fieldOffset(index, reference, resolver);
    else if (reference) imm = kernelNumber(index, reference, resolver);
    view.setUint8(at, instruction.opcode);
    view.setUint8(at + 1, instruction.dst | (instruction.src << 4));
    view.setInt16(at + 2, offset, true);
    if (instruction.opcode === WIDE_LOAD) {
      view.setUint32(at + 4, Number(wide & 0xffff_ffffn), true);
      view.setUint32(at + 12, Number(wide >> 32n), true);
    } else {
      view.setInt32(at + 4, imm, true);
    }
    at += slotsOf(instruction) * SLOT_SIZE;
  });
  return bytes;
}

function fieldOffset(index: number, reference: Reference & { kind: "field" }, resolver: Resolver): number {
  const { struct, field, size } = reference;
  const offset = numberOf(index, resolver.field?.(struct, field, size), `the offset of ${struct}.${field}`);
  if (offset < 0 || offset > 0x7fff)
    throw new EncodeError(index, `offset ${offset} of ${struct}.${field} is too large`);
  return offset;
}

/** What stands in the immediate. */
function kernelNumber(
  index: number,
  reference: Exclude<Reference, MapReference | { kind: "field" }>,
  resolver: Resolver,
): number {
  switch (reference.kind) {
    case "fieldOffset": {
      const { struct, field, negative } = reference;
      const offset = numberOf(index, resolver.field?.(struct, field), `the offset of ${struct}.${field}`);
      return negative ? -offset : offset;
    }
    case "bitField": {
      const { struct, field, part } = reference;
      const bits = resolver.bitField?.(struct, field);
      if (!bits) throw new EncodeError(index, `nothing gives the bits of ${struct}.${field}`);
      return part === "shift" ? bits.shift : 2 ** bits.bits - 1;
    }
    case "type":
      return numberOf(index, resolver.type?.(reference.struct), `a number for struct ${reference.struct}`);
    case "function":
      return numberOf(index, resolver.function?.(reference.name), `a number for kernel function ${reference.name}`);
  }
}

function mapNumber(index: number, reference: MapReference, resolver: Resolver): bigint {
  const descriptor = numberOf(index, resolver.map?.(reference.map), `a number for map ${reference.map}`);
  const offset = reference.kind === "mapValue" ? reference.offset : 0;
  return BigInt(descriptor) | (BigInt(offset) << 32n);
}

function numberOf(index: number, number: number | undefined, what: string): number {
  if (number === undefined) throw new EncodeError(index, `nothing gives ${what}`);
  return number;
}
