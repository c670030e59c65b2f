/** What the kernel's verifier objected to, brought back to the line of the policy. Pure: a log and a spec in, an error out. */
import { slotIndex } from "../bpf/encode.ts";
import type { SourcePosition } from "../bpf/instruction.ts";
import type { ProgramSpec } from "../bpf/spec.ts";
import { verifierMessages } from "./verifier-messages.ts";

/** A program that the verifier refused. `message` tells it in words; the raw log is only in `log`. */
export class VerifierError extends Error {
  /** The program's name. */
  readonly program: string;
  /** Where in the policy; undefined when no instruction up to there has a position. */
  readonly position: SourcePosition | undefined;
  /** Index of the refused instruction in the spec, undefined when the log names none. */
  readonly instruction: number | undefined;
  /** The verifier's own sentence. */
  readonly objection: string;
  /** The same in the words of the policy language. */
  readonly explanation: string;
  /** What to write instead; undefined for an objection that is not in the table. */
  readonly advice: string | undefined;
  /** The verifier's whole log. */
  readonly log: string;

  constructor(details: Pick<VerifierError, "program" | "position" | "instruction" | "objection" | "log"> & Words) {
    super(render(details));
    this.name = "VerifierError";
    this.program = details.program;
    this.position = details.position;
    this.instruction = details.instruction;
    this.objection = details.objection;
    this.explanation = details.explanation;
    this.advice = details.advice;
    this.log = details.log;
  }
}

interface Words {
  readonly explanation: string;
  readonly advice: string | undefined;
}

/** Reads a verifier log; undefined when it contains no objection (the kernel refused for another reason). */
export function explainVerifierLog(
  log: string,
  spec: Pick<ProgramSpec, "name" | "instructions">,
): VerifierError | undefined {
  const lines = log.replace(/\0.*$/s, "").split("\n");
  const { slot, objections } = locate(lines);
  if (objections.length === 0) return undefined;
  const words = translate(objections);
  const instruction = slot === undefined ? undefined : instructionAt(spec, slot);
  return new VerifierError({
    program: spec.name,
    position: instruction === undefined ? undefined : positionOf(spec, instruction),
    instruction,
    ...words,
    log: lines.join("\n"),
  });
}

/** An executed instruction, as in `12: (61) r0 = *(u32 *)(r1 +0)`. */
const instructionLine = /^(\d+): \([0-9a-f]{2}\) /;
/** Lines that describe states, source, statistics and the path rather than object. */
const noise =
  /^(?:;|\d+: |from \d+ to \d+|R\d+(?:_\w+)?=|last_idx|first_idx|regs=|parent |mark_precise|processed \d+ insns|verification time|stack depth|peak_states|caller:|callee:|returning from callee|arg#\d+ reference type|func#\d+ |Global function|Validating |reg type unsupported|Func#|frame\d+:|propagating|insns_processed|total_states)/;

function locate(lines: readonly string[]): { slot: number | undefined; objections: string[] } {
  let slot: number | undefined;
  let objections: string[] = [];
  for (const raw of lines) {
    const line = raw.trim();
    const executed = instructionLine.exec(line);
    if (executed) {
      slot = Number(executed[1]);
      // What stood before the instruction was a remark, not the reason why the verifier stopped.
      objections = [];
    } else if (line !== "" && !noise.test(line)) objections.push(line);
  }
  const named = /\b(?:insn|at insn|from insn) (\d+)/.exec(objections.join("\n"));
  if (named && !/Processed \d+ insn/.test(objections.join("\n"))) slot = Number(named[1]);
  return { slot, objections };
}

function translate(objections: readonly string[]): Words & { objection: string } {
  for (const { pattern, explanation, advice } of verifierMessages) {
    for (const objection of objections) {
      const match = pattern.exec(objection);
      if (!match) continue;
      const filled = explanation.replace(/\$(\d)/g, (_, group: string) => {
        return match[Number(group)] ?? match.slice(1).find((text) => text !== undefined) ?? "";
      });
      return { objection, explanation: filled, advice };
    }
  }
  const objection = objections[objections.length - 1];
  return { objection, explanation: objection, advice: undefined };
}

function instructionAt(spec: Pick<ProgramSpec, "instructions">, slot: number): number | undefined {
  const index = slotIndex(spec.instructions).findLastIndex((start) => start <= slot);
  return index >= 0 && index < spec.instructions.length ? index : undefined;
}

/** An instruction the compiler made up has no position: what precedes it belongs to the same statement. */
function positionOf(spec: Pick<ProgramSpec, "instructions">, instruction: number): SourcePosition | undefined {
  return spec.instructions.slice(0, instruction + 1).findLast(({ position }) => position !== undefined)?.position;
}

function render(details: Pick<VerifierError, "program" | "position" | "objection"> & Words): string {
  const { program, position, objection, explanation, advice } = details;
  const where = position ? ` at ${position.file}:${position.line}:${position.column}` : "";
  const lines = [`The kernel refuses program ${program}${where}: ${explanation}`];
  if (position) {
    const number = String(position.line);
    lines.push(`  ${number} | ${position.text}`);
    // Tabs before the column stay tabs, so that the mark stands below it whatever their width.
    const indent = position.text.slice(0, position.column - 1).replace(/[^\t]/g, " ");
    lines.push(`  ${" ".repeat(number.length)} | ${indent}^`);
  }
  if (advice) lines.push(`What to do: ${advice}`);
  if (objection !== explanation) lines.push(`The verifier's words: ${objection}`);
  return lines.join("\n");
}
