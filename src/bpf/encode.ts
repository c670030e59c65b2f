/** Instructions to bytes, little-endian (RFC 9669, section 3). */
import type { Instruction, Reference } from "./instruction.ts";
import { SLOT_SIZE, WIDE_LOAD } from "./opcodes.ts";

/** Gives references their numbers: maps become file descriptors, fields byte offsets. */
export interface Resolver {
  map?(name: string): number;
  field?(struct: string, field: string): number;
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
    let { offset } = instruction;
    let wide = instruction.wide ?? BigInt.asUintN(32, BigInt(instruction.imm));
    if (reference?.kind === "field") offset = fieldOffset(index, reference, resolver);
    else if (reference) wide = mapNumber(index, reference, resolver);
    view.setUint8(at, instruction.opcode);
    view.setUint8(at + 1, instruction.dst | (instruction.src << 4));
    view.setInt16(at + 2, offset, true);
    if (instruction.opcode === WIDE_LOAD) {
      view.setUint32(at + 4, Number(wide & 0xffff_ffffn), true);
      view.setUint32(at + 12, Number(wide >> 32n), true);
    } else {
      view.setInt32(at + 4, instruction.imm, true);
    }
    at += slotsOf(instruction) * SLOT_SIZE;
  });
  return bytes;
}

function fieldOffset(index: number, reference: Reference & { kind: "field" }, resolver: Resolver): number {
  const offset = resolver.field?.(reference.struct, reference.field);
  if (offset === undefined)
    throw new EncodeError(index, `nothing gives the offset of ${reference.struct}.${reference.field}`);
  if (offset < 0 || offset > 0x7fff)
    throw new EncodeError(index, `offset ${offset} of ${reference.struct}.${reference.field} is too large`);
  return offset;
}

function mapNumber(index: number, reference: Exclude<Reference, { kind: "field" }>, resolver: Resolver): bigint {
  const descriptor = resolver.map?.(reference.map);
  if (descriptor === undefined) throw new EncodeError(index, `nothing gives a number for map ${reference.map}`);
  const offset = reference.kind === "mapValue" ? reference.offset : 0;
  return BigInt(descriptor) | (BigInt(offset) << 32n);
}
