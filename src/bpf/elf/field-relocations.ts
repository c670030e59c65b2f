/**
 * Fields of kernel structures in an object file: the program's own BTF describes just enough of a structure to name the
 * field, and whoever loads the file looks up the offset in the running kernel (CO-RE; `struct bpf_core_relo` in
 * include/uapi/linux/bpf.h, Documentation/bpf/llvm_reloc.rst).
 */
import type { BtfBuilder } from "../btf/builder.ts";
import { IntEncoding } from "../btf/format.ts";
import { bytesOfSizeCode } from "../opcodes.ts";
import type { Instruction } from "../instruction.ts";
import { ElfError } from "./container.ts";

/** BPF_CORE_FIELD_BYTE_OFFSET. */
const BYTE_OFFSET = 0;

/** A field as an object file names it. */
export interface NamedField {
  /** Bytes from the start of the described structure: what the instruction holds until it is loaded. */
  readonly offset: number;
  /** The words of a record behind the instruction's place: structure, path as indices, kind. */
  readonly record: readonly number[];
}

/** Describes fields in one object's BTF, each once. */
export class FieldNames {
  readonly #builder: BtfBuilder;
  readonly #known = new Map<string, NamedField>();

  constructor(builder: BtfBuilder) {
    this.#builder = builder;
  }

  /** The field that a load or store refers to. */
  of(instruction: Instruction, struct: string, path: string): NamedField {
    const size = bytesOfSizeCode[instruction.opcode & 0x18];
    const key = `${struct} ${path} ${size}`;
    let found = this.#known.get(key);
    if (!found) this.#known.set(key, (found = this.#describe(struct, path, size)));
    return found;
  }

  #describe(struct: string, path: string, size: number): NamedField {
    const steps = path.match(/\w+|\[\d+\]/g) ?? [];
    if (steps.length === 0) throw new ElfError(`Cannot name field ${struct}.${path} in an object file`);
    let type = this.#integer(size);
    let bytes = size;
    let offset = 0;
    const indices: number[] = [];
    // From the inside out: every member is the first of a structure that has no other.
    for (const [i, step] of [...steps.entries()].reverse()) {
      const element = /^\[(\d+)\]$/.exec(step)?.[1];
      if (element === undefined) {
        const name = i === 0 ? struct : "";
        const members = [{ name: step, type, bitOffset: 0, bitSize: 0 }];
        type = this.#builder.add({ kind: "struct", name, size: bytes, members });
        indices.unshift(0);
      } else {
        const index = Number(element);
        type = this.#builder.add({ kind: "array", type, indexType: this.#integer(4), length: index + 1 });
        offset += index * bytes;
        bytes *= index + 1;
        indices.unshift(index);
      }
    }
    // The leading 0 stands for the structure itself, as an element of an array of them.
    const access = this.#builder.addString([0, ...indices].join(":"));
    return { offset, record: [type, access, BYTE_OFFSET] };
  }

  #integer(size: number): number {
    const shape = { size, bits: 8 * size, bitOffset: 0, encoding: IntEncoding.none };
    return this.#builder.add({ kind: "int", name: `u${8 * size}`, ...shape });
  }
}
