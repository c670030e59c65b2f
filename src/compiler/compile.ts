/** Compiles a chain: TypeScript policies in, one eBPF program spec per hook out. Pure: the same input gives the same bytes. */
import type { Instruction, SourcePosition } from "../bpf/instruction.ts";
import type { MapSpec, ProgramSpec } from "../bpf/spec.ts";
import { emit, optimise, ProgramTooLargeError, StackTooLargeError } from "./backend/index.ts";
import { CompileError, diagnose } from "./frontend/diagnostics.ts";
import { fuse, reasonsOf, selectorsOf, type SelectorTree } from "./frontend/fuse.ts";
import { hooks, type Hook } from "./frontend/hooks.ts";
import type { PolicyUse } from "./frontend/members.ts";
import { PolicyProgram, type SourceReader } from "./frontend/program.ts";
import type { IrFunction } from "./ir/index.ts";
import { layOut, mapsOf, type ChainLayout, type CounterSlot } from "./layout.ts";

export interface ChainSource {
  /** Names the programs. */
  readonly name: string;
  readonly selector: SelectorTree;
  readonly actors: readonly PolicyUse[];
  /** Places that counters have already, when this is a later version of a running chain. */
  readonly counters?: readonly CounterSlot[];
}

export interface CompiledChain {
  readonly layout: ChainLayout;
  /** Shared by all programs. */
  readonly maps: Readonly<Record<string, MapSpec>>;
  /** By hook. */
  readonly programs: Readonly<Record<string, ProgramSpec>>;
}

let previous: PolicyProgram | undefined;

/**
 * Compiles `source` for each of `targets`.
 * @throws {CompileError} with every diagnostic, when a policy is outside the language
 */
export function compileChain(source: ChainSource, targets: readonly Hook[], reader: SourceReader): CompiledChain {
  const uses = [...selectorsOf(source.selector), ...source.actors];
  const program = PolicyProgram.reuse([...new Set(uses.map(({ file }) => file))], reader, previous);
  previous = program;
  const runs = uses.map(({ file, policy }) => program.findRun(file, policy.kind, policy.name));
  for (const run of runs) program.checkFunction(run);
  const reasons = runs.slice(uses.length - source.actors.length).map((run) => reasonsOf(run, program));
  const layout = layOut(
    uses.length - source.actors.length,
    source.actors.map(({ policy }) => policy),
    reasons,
    source.counters,
  );
  const maps = mapsOf(layout);
  // Where to look when the stack does not suffice: the actor whose records are largest.
  const recordSize = (actor: number): number =>
    layout.state.reduce((sum, slot) => (slot.actor === actor ? sum + slot.size : sum), 0);
  const byRecordSize = source.actors.map((_, actor) => actor).sort((a, b) => recordSize(b) - recordSize(a));
  const largest = runs[uses.length - source.actors.length + (byRecordSize[0] ?? -1)] ?? runs[0];
  const programs = Object.fromEntries(
    targets.map((hook) => {
      const ir = fuse({ ...source, layout }, hook, program);
      optimise(ir);
      return [
        hook,
        programSpec(
          source.name,
          hook,
          emitOrExplain(ir, () => program.position(largest)),
          maps,
        ),
      ];
    }),
  );
  return { layout, maps, programs };
}

function programSpec(
  name: string,
  hook: Hook,
  instructions: readonly Instruction[],
  maps: Readonly<Record<string, MapSpec>>,
): ProgramSpec {
  const { programType, attachType, attachTarget } = hooks[hook];
  const used = new Set(
    instructions.flatMap(({ reference }) => (reference && reference.kind !== "field" ? [reference.map] : [])),
  );
  return {
    name: name.replace(/[^A-Za-z0-9_.]/g, "_").slice(0, 15),
    type: programType,
    attachType,
    ...(attachTarget && { attachTarget }),
    license: "GPL",
    instructions,
    maps: Object.fromEntries(Object.entries(maps).filter(([key]) => used.has(key))),
  };
}

function emitOrExplain(ir: IrFunction, position: () => SourcePosition): Instruction[] {
  try {
    return emit(ir);
  } catch (error) {
    if (error instanceof StackTooLargeError)
      throw new CompileError([diagnose("tooMuchStack", position(), error.sizeBytes)]);
    if (error instanceof ProgramTooLargeError) throw new CompileError([diagnose("tooLarge", position(), error.slots)]);
    throw error;
  }
}
