/**
 * The eBPF instruction as plain data (RFC 9669). Encoding, decoding, constructors and the disassembler build on it.
 * Nothing here knows a kernel: whatever depends on one is a symbolic `Reference`, resolved by `linux/` at load time or by
 * the VM when it starts.
 */

/** Where in a policy's source an instruction comes from; line and column count from 1. */
export interface SourcePosition {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** The whole source line, without its line end. */
  readonly text: string;
}

/** What an instruction's immediate or offset stands for until a kernel or the VM gives it a number. */
export type Reference =
  /** Wide load: the map itself (a file descriptor in the kernel). `map` is a key of `ProgramSpec.maps`. */
  | { readonly kind: "map"; readonly map: string }
  /** Wide load: the address of byte `offset` of entry 0 of an array map. */
  | { readonly kind: "mapValue"; readonly map: string; readonly offset: number }
  /** Load or store: the instruction's offset is that of a field of a kernel structure, looked up in the kernel's BTF. */
  | {
      readonly kind: "field";
      readonly struct: string;
      readonly field: string;
      /** Bytes that the field must have. */
      readonly size?: number;
    }
  /** Add of an immediate: the immediate, plus or (`negative`) minus, is the offset of a field. */
  | { readonly kind: "fieldOffset"; readonly struct: string; readonly field: string; readonly negative?: boolean }
  /** Move of an immediate: the number of a structure in the kernel's BTF. */
  | { readonly kind: "type"; readonly struct: string }
  /** Move of an immediate: by how much to shift (`shift`), then what to keep (`mask`) of the byte in which a bit field begins. */
  | { readonly kind: "bitField"; readonly struct: string; readonly field: string; readonly part: "shift" | "mask" }
  /** Call: a function of the kernel (kfunc) by its name. */
  | { readonly kind: "function"; readonly name: string };

/** A reference to a map, whichever way. */
export type MapReference = Extract<Reference, { readonly map: string }>;

/** Whether a reference is to one of the program's maps, and not to something of the kernel's. */
export function namesMap(reference: Reference | undefined): reference is MapReference {
  return reference !== undefined && "map" in reference;
}

/** One instruction. A wide load (LD_IMM64) is one `Instruction` too, but fills two slots; jump offsets count slots. */
export interface Instruction {
  readonly opcode: number;
  readonly dst: number;
  readonly src: number;
  /** Signed 16 bits: slots for jumps, bytes for memory. */
  readonly offset: number;
  /** Signed 32 bits. */
  readonly imm: number;
  /** The 64-bit immediate of a wide load without a reference (unsigned). */
  readonly wide?: bigint;
  readonly reference?: Reference;
  readonly position?: SourcePosition;
}
