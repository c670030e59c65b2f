/** Compiles a chain: TypeScript policies in, one eBPF program spec per hook out. Pure: the same input gives the same bytes. */
import { namesMap, type Instruction, type SourcePosition } from "../bpf/instruction.ts";
import type { MapSpec, ProgramSpec } from "../bpf/spec.ts";
import { emit, optimise, ProgramTooLargeError, StackTooLargeError } from "./backend/index.ts";
import { CompileError, diagnose } from "./frontend/diagnostics.ts";
import { eventsOf } from "./frontend/events.ts";
import { fuse, reasonsOfActor, selectorsOf, type SelectorTree } from "./frontend/fuse.ts";
import { hooks, isPacketHook, type Hook } from "./frontend/hooks.ts";
import { carriedMap, carriedSpec } from "./frontend/carried.ts";
import { link, type LinkedPart } from "./frontend/linked.ts";
import { ForeignError, foreignProgram, type ForeignPlace } from "./foreign.ts";
import type { ForeignCode } from "../policy/index.ts";
import type { PolicyUse } from "./frontend/members.ts";
import { compiled, endingsOf } from "./frontend/uses.ts";
import { PolicyProgram, type SourceReader } from "./frontend/program.ts";
import { remembered } from "./remember.ts";
import { injectionMap, injectionMapSpec } from "./injection-buffer.ts";
import type { IrFunction } from "./ir/index.ts";
import {
  type ChainLayout,
  type CounterSlot,
  isOwner,
  layOut,
  mapsOf,
  type MemberParameterSlot,
  withSets,
} from "./layout.ts";
import { setMap, type SetSlot } from "./sets.ts";
import { maximumPrograms, numbered, programsMap, stepGraph, stepsMap, stepsSpec } from "./steps.ts";

export interface ChainSource {
  /** Names the programs. */
  readonly name: string;
  readonly selector: SelectorTree;
  readonly actors: readonly PolicyUse[];
  /** Selectors with sets that are left out for now: their members stay. */
  readonly idle?: readonly PolicyUse[];
  /** Places that counters have already, when this is a later version of a running chain. */
  readonly counters?: readonly CounterSlot[];
}

/** By map and index, the program; indices without one are left free. */
export type ProgramArrays = Readonly<Record<string, readonly (string | undefined)[]>>;

export interface CompiledChain {
  readonly layout: ChainLayout;
  /** Shared by all programs. */
  readonly maps: Readonly<Record<string, MapSpec>>;
  /** By hook: what is attached there. The programs that a linked chain goes on with are called `HOOK:INDEX`. */
  readonly programs: Readonly<Record<string, ProgramSpec>>;
  /** What the program arrays of a linked chain hold. */
  readonly programArrays: ProgramArrays;
}

/** `fused`: one program per hook. `linked`: one per sub-policy, chained by tail calls; socket hooks are fused all the same. */
export type ChainMode = "fused" | "linked";

let previous: PolicyProgram | undefined;

/**
 * Compiles `source` for each of `targets`.
 * @throws {CompileError} with every diagnostic, when a policy is outside the language
 */
export function compileChain(
  source: ChainSource,
  targets: readonly Hook[],
  reader: SourceReader,
  mode: ChainMode = "fused",
): CompiledChain {
  const all = [...selectorsOf(source.selector), ...source.actors];
  const foreign = all.find(({ policy }) => policy.foreign)?.policy;
  if (foreign && mode === "fused")
    throw new ForeignError(`Cannot fuse a chain with ${foreign.name}: it is a program of its own; use the linked mode`);
  const uses = compiled(all);
  const program = PolicyProgram.reuse([...new Set(uses.map(({ file }) => file))], reader, previous);
  previous = program;
  // Foreign members come from object files, whose contents the program does not know; of a set, there may be very many.
  const hasMembers = [...all, ...(source.idle ?? [])].some(({ members = [] }) => members.length > 0);
  if (uses.length < all.length || hasMembers) return compileFor(program, source, targets, mode);
  return remembered(program, [source, targets, mode], () => compileFor(program, source, targets, mode));
}

function compileFor(
  program: PolicyProgram,
  source: ChainSource,
  targets: readonly Hook[],
  mode: ChainMode,
): CompiledChain {
  const uses = compiled([...selectorsOf(source.selector), ...source.actors]);
  for (const { set, file, policy } of uses)
    if (set) program.checkFunction(program.findRun(file, policy.kind, policy.name, "member"));
  const runs = uses.map(({ file, policy }) => program.findRun(file, policy.kind, policy.name));
  const observing = uses
    .filter(({ policy }) => policy.observes)
    .map(({ file, policy }) => program.findRun(file, policy.kind, policy.name, "observe"));
  const releases = uses.map(({ file, policy }) =>
    policy.releases ? [program.findRun(file, policy.kind, policy.name, "release")] : [],
  );
  const functions = [...observing, ...runs, ...releases.flat()];
  for (const run of functions) program.checkFunction(run);
  const reasons = source.actors.map((use) => {
    const index = uses.indexOf(use);
    const run = runs[index];
    return run ? reasonsOfActor(use, [run, ...releases[index]], program) : [];
  });
  const places = layOut(
    selectorsOf(source.selector).map(({ policy }) => policy),
    source.actors.map(({ policy }) => policy),
    reasons,
    eventsOf(functions, program),
    source.counters,
    mode === "linked",
  );
  const layout = withSets(places, setsOf([...uses, ...(source.idle ?? [])]), memberParametersOf(source.actors));
  const parts = linkedParts(source);
  const maps: Record<string, MapSpec> = {
    ...mapsOf(layout),
    ...setMaps([...(source.idle ?? []), ...uses]),
    [injectionMap]: injectionMapSpec,
    ...(mode === "linked" && linkMaps(source, layout, targets)),
  };
  // Where to look when the stack does not suffice: the actor whose records are largest.
  const recordSize = (actor: number): number =>
    layout.state.reduce((sum, slot) => (isOwner(slot, "actor", actor) ? sum + slot.size : sum), 0);
  const byRecordSize = source.actors.map((_, actor) => actor).sort((a, b) => recordSize(b) - recordSize(a));
  const largest = runs[uses.indexOf(source.actors[byRecordSize[0] ?? -1])] ?? runs[0];
  const build = (name: string, hook: Hook, ir: IrFunction): ProgramSpec => {
    optimise(ir);
    return programSpec(
      name,
      hook,
      emitOrExplain(ir, () => program.position(largest)),
      maps,
    );
  };
  const linked = {
    ...source,
    layout,
    selectors: selectorsOf(source.selector),
    programs: parts.length,
    asked: endingsOf(source.actors, program),
  };
  const programs: Record<string, ProgramSpec> = {};
  const programArrays: Record<string, (string | undefined)[]> = {};
  for (const hook of targets) {
    if (mode === "fused" || !isPacketHook(hook)) {
      programs[hook] = build(source.name, hook, fuse({ ...source, layout }, hook, program));
      continue;
    }
    programs[hook] = build(source.name, hook, link(linked, { part: "entry" }, hook, program));
    programArrays[programsMap(hook)] = parts.map((part, index) => {
      if ("use" in part && part.use.policy.on === "socket") return undefined;
      const key = `${hook}:${index}`;
      if ("use" in part && part.use.policy.foreign) {
        programs[key] = foreignPart(part.use.policy.foreign, part, { layout, hook }, maps);
        Object.assign(maps, programs[key].maps);
      } else programs[key] = build(partName(part), hook, link(linked, part, hook, program));
      return key;
    });
  }
  // Only few chains make segments of their own, and the buffer is not small.
  if (!Object.values(programs).some(({ maps }) => injectionMap in maps)) delete maps[injectionMap];
  return { layout, maps, programs, programArrays };
}

/** Sets with what they start with. */
function setMaps(uses: readonly PolicyUse[]): Record<string, MapSpec> {
  return Object.fromEntries(
    uses.flatMap(({ set, members = [] }) => (set ? [[set.map, { ...setMap(set), contents: members }]] : [])),
  );
}

/** The sets of a chain; one that several selectors name is one. */
function setsOf(uses: readonly PolicyUse[]): SetSlot[] {
  return [...new Map(uses.flatMap(({ set }) => (set ? [[set.name, set] as const] : []))).values()];
}

function memberParametersOf(actors: readonly PolicyUse[]): MemberParameterSlot[] {
  return actors.flatMap(({ fromMember = {} }, actor) =>
    Object.entries(fromMember).map(([name, { selector, field }]) => ({ actor, name, set: selector.set!.name, field })),
  );
}

/** The programs of a linked chain in the order of its program arrays. Actors on sockets have none there. */
function linkedParts(source: ChainSource): LinkedPart[] {
  return [
    { part: "end" },
    ...selectorsOf(source.selector).map((use, selector) => ({ part: "selector", use, selector }) as const),
    ...source.actors.map((use, actor) => ({ part: "actor", use, actor }) as const),
  ];
}

/** Members of one file share its maps. */
function foreignPart(
  code: ForeignCode,
  part: Extract<LinkedPart, { use: PolicyUse }>,
  where: Pick<ForeignPlace, "layout" | "hook">,
  maps: Readonly<Record<string, MapSpec>>,
): ProgramSpec {
  const counter: CounterSlot =
    part.part === "actor" ? { kind: "acted", actor: part.actor } : { kind: "matched", selector: part.selector };
  const prefix = code.file.replace(/^.*\//, "").replace(/\W/g, "_");
  return foreignProgram(code, { ...where, counter, prefix }, maps);
}

const partName = (part: LinkedPart): string => ("use" in part ? part.use.policy.name : part.part);

function linkMaps(source: ChainSource, layout: ChainLayout, targets: readonly Hook[]): Record<string, MapSpec> {
  const acting = source.actors.flatMap(({ policy, disabled }, i) => (policy.on === "packet" && !disabled ? [i] : []));
  const graph = stepGraph(layout, numbered(source.selector), acting);
  const array = { keySize: 4, valueSize: 4 } as const;
  return {
    [carriedMap]: carriedSpec(layout),
    [stepsMap]: stepsSpec(graph),
    ...Object.fromEntries(
      targets
        .filter(isPacketHook)
        .map((hook) => [
          programsMap(hook),
          { name: "emptcp_programs", type: "progArray", ...array, maxEntries: maximumPrograms } as const,
        ]),
    ),
  };
}

function programSpec(
  name: string,
  hook: Hook,
  instructions: readonly Instruction[],
  maps: Readonly<Record<string, MapSpec>>,
): ProgramSpec {
  const { programType, attachType, attachTarget } = hooks[hook];
  return {
    name: name.replace(/[^A-Za-z0-9_.]/g, "_").slice(0, 15),
    type: programType,
    attachType,
    ...(attachTarget && { attachTarget }),
    license: "GPL",
    instructions,
    maps: usedMaps(instructions, maps),
  };
}

/** The maps that instructions refer to. */
export function usedMaps(
  instructions: readonly Instruction[],
  maps: Readonly<Record<string, MapSpec>>,
): Record<string, MapSpec> {
  const used = new Set(instructions.flatMap(({ reference }) => (namesMap(reference) ? [reference.map] : [])));
  return Object.fromEntries(Object.entries(maps).filter(([key]) => used.has(key)));
}

/** @throws {CompileError} for what is too large, at `position` */
export function emitOrExplain(ir: IrFunction, position: () => SourcePosition): Instruction[] {
  try {
    return emit(ir);
  } catch (error) {
    if (error instanceof StackTooLargeError)
      throw new CompileError([diagnose("tooMuchStack", position(), error.sizeBytes)]);
    if (error instanceof ProgramTooLargeError) throw new CompileError([diagnose("tooLarge", position(), error.slots)]);
    throw error;
  }
}
