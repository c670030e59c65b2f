/** What goes wrong in the VM. */
import type { SourcePosition } from "../instruction.ts";

export type VmErrorKind =
  /** Outside any region, or outside the region the pointer belongs to. */
  | "memory"
  /** A write to memory or a context field the program may only read. */
  | "readOnly"
  /** A packet pointer taken before the packet was moved, or a stack pointer of a function that has returned. */
  | "stale"
  /** More instructions than the limit. */
  | "steps"
  /** A call of something the VM or this program type does not have, or with the wrong kind of argument. */
  | "call"
  /** An instruction that is none, or a jump out of the program. */
  | "instruction";

/** A program that the kernel would refuse, or that does what the VM cannot do. */
export class VmError extends Error {
  readonly kind: VmErrorKind;
  /** The name of the program, which after a tail call is not that of the VM. */
  readonly program: string;
  /** Index of the instruction (not the slot). */
  readonly index: number;
  readonly disassembly: string;
  readonly position: SourcePosition | undefined;
  constructor(
    kind: VmErrorKind,
    reason: string,
    at: { program: string; index: number; disassembly: string; position: SourcePosition | undefined },
  ) {
    const source = at.position ? `\n  ${at.position.file}:${at.position.line}: ${at.position.text.trim()}` : "";
    super(`Cannot run ${at.program}, instruction ${at.index} (${at.disassembly}): ${reason}${source}`);
    this.name = "VmError";
    this.kind = kind;
    this.program = at.program;
    this.index = at.index;
    this.disassembly = at.disassembly;
    this.position = at.position;
  }
}
