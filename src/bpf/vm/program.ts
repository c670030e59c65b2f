/** A program ready to run: its slots in flat arrays, its references resolved to the maps of one VM. */
import { disassembleInstruction } from "../disassemble.ts";
import { encode, slotIndex, slots, type Resolver } from "../encode.ts";
import { namesMap } from "../instruction.ts";
import { WIDE_LOAD } from "../opcodes.ts";
import type { ProgramSpec } from "../spec.ts";
import { VmError, type VmErrorKind } from "./errors.ts";
import { ArrayMap, type VmMap } from "./maps.ts";

export class Program {
  readonly spec: ProgramSpec;
  readonly maps: ReadonlyMap<string, VmMap>;
  /** By slot; the second slot of a wide load has opcode 0. */
  readonly opcodes: Uint8Array;
  readonly dst: Uint8Array;
  readonly src: Uint8Array;
  readonly offsets: Int16Array;
  /** Immediates; for wide loads of values the low half, and the high half in the second slot. */
  readonly immediates: Int32Array;
  /** The map a wide load refers to, by slot. */
  readonly references: (VmMap | undefined)[];
  /** The kernel's functions that it calls, by the immediates of the calls. */
  readonly functions: string[] = [];
  private readonly indexOfSlot: Int32Array;

  /** @param names numbers for what programs name of the kernel */
  constructor(spec: ProgramSpec, maps: ReadonlyMap<string, VmMap>, names: Omit<Resolver, "map" | "function">) {
    this.spec = spec;
    this.maps = maps;
    const count = slots(spec.instructions);
    const bytes = encode(spec.instructions, {
      ...names,
      map: () => 0,
      function: (name) => this.functions.push(name) - 1,
    });
    const view = new DataView(bytes.buffer);
    this.opcodes = new Uint8Array(count);
    this.dst = new Uint8Array(count);
    this.src = new Uint8Array(count);
    this.offsets = new Int16Array(count);
    this.immediates = new Int32Array(count);
    this.references = Array.from({ length: count }, () => undefined);
    this.indexOfSlot = new Int32Array(count);
    for (let slot = 0; slot < count; slot++) {
      this.opcodes[slot] = bytes[slot * 8]!;
      this.dst[slot] = bytes[slot * 8 + 1] & 0xf;
      this.src[slot] = bytes[slot * 8 + 1] >> 4;
      this.offsets[slot] = view.getInt16(slot * 8 + 2, true);
      this.immediates[slot] = view.getInt32(slot * 8 + 4, true);
    }
    const starts = slotIndex(spec.instructions);
    spec.instructions.forEach((instruction, index) => {
      const slot = starts[index];
      this.indexOfSlot[slot] = index;
      if (instruction.opcode !== WIDE_LOAD) return;
      this.indexOfSlot[slot + 1] = index;
      const { reference } = instruction;
      if (!reference) {
        if (instruction.src !== 0)
          throw this.error(slot, "instruction", "the wide load refers to something without a name");
        return;
      }
      if (!namesMap(reference)) throw this.error(slot, "instruction", `a wide load has no ${reference.kind}`);
      const map = maps.get(reference.map);
      if (!map) throw this.error(slot, "instruction", `the program has no map ${reference.map}`);
      if (reference.kind === "mapValue" && !(map instanceof ArrayMap && map.type === "array")) {
        throw this.error(slot, "instruction", `map ${reference.map} is no array`);
      }
      this.references[slot] = map;
    });
  }

  /** An error at a slot. */
  error(slot: number, kind: VmErrorKind, reason: string): VmError {
    const index = this.indexOfSlot[Math.min(Math.max(slot, 0), this.indexOfSlot.length - 1)] ?? 0;
    const instruction = this.spec.instructions[index];
    return new VmError(kind, reason, {
      program: this.spec.name,
      index,
      disassembly: instruction ? disassembleInstruction(instruction) : "no instruction",
      position: instruction?.position,
    });
  }
}
