/** The back end in one step: IR to eBPF. */
import type { Instruction } from "../../bpf/instruction.ts";
import type { IrFunction } from "../ir/ir.ts";
import { allocate } from "./allocate.ts";
import { layOut } from "./layout.ts";
import { select } from "./select.ts";

/**
 * The instructions of `fn`, which is left as it is. It must be well formed (`verify`); whether it was optimised is up to
 * the caller. Throws `StackTooLargeError` and `ProgramTooLargeError`.
 */
export function emit(fn: IrFunction): Instruction[] {
  const machine = select(fn);
  allocate(machine, fn.name);
  return layOut(machine, fn.name);
}
