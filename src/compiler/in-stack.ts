/**
 * Compiles in-stack policies: one program for each operation of `struct tcp_congestion_ops`, or `struct mptcp_sched_ops`, that
 * the policy or its base defines. Pure: the same input gives the same bytes.
 */
import type { MapSpec, ProgramSpec, StructOpsSpec } from "../bpf/spec.ts";
import type { Policy } from "../policy/policy.ts";
import type { Base, CongestionControl, Scheduler } from "../policy/stack.ts";
import { optimise } from "./backend/index.ts";
import { emitOrExplain, usedMaps } from "./compile.ts";
import { CompileError, diagnose } from "./frontend/diagnostics.ts";
import { eventsOf } from "./frontend/events.ts";
import { reasonsOf } from "./frontend/fuse.ts";
import { titleOf } from "./frontend/hooks.ts";
import {
  baseFunctions,
  operations,
  policyOperations,
  schedulerOperations,
  windowOperation,
  type Operation,
  type OperationName,
} from "./frontend/operations.ts";
import { PolicyProgram, type RunFunction, type SourceReader } from "./frontend/program.ts";
import { handOn, lowerOperation } from "./frontend/stack-operation.ts";
import type { IrFunction } from "./ir/index.ts";
import { countersMap, layOut, mapsOf, type ChainLayout } from "./layout.ts";
import { remembered } from "./remember.ts";

interface OperationsSource {
  /** Under which it is to be registered: at most 15 characters, unique on the host. */
  readonly name: string;
  readonly policy: CongestionControl | Scheduler;
  /** That defines the policy. */
  readonly file: string;
}

export interface InStackSource extends OperationsSource {
  readonly policy: CongestionControl;
  readonly base: Base;
}

export interface SchedulerSource extends OperationsSource {
  readonly policy: Scheduler;
}

export interface CompiledInStack {
  /** The policy is actor 0. Counters are those of `cannot`, and of events that were lost. */
  readonly layout: ChainLayout;
  readonly maps: Readonly<Record<string, MapSpec>>;
  /** By member of the structure. */
  readonly programs: Readonly<Record<string, ProgramSpec>>;
  readonly structOps: StructOpsSpec;
}

/** TCP_CONG_NON_RESTRICTED (include/net/tcp.h): network namespaces and unprivileged programs may choose it. */
const nonRestricted = 1;

let previous: PolicyProgram | undefined;

/**
 * Compiles a policy on top of `source.base`. Of `congAvoid` and `congControl`, the one that the base does not have is left out.
 * @throws {CompileError} with every diagnostic, when the policy is outside the language
 */
export function compileInStack(source: InStackSource, reader: SourceReader): CompiledInStack {
  const { base, policy } = source;
  const other = windowOperation(base) === "congAvoid" ? "congControl" : "congAvoid";
  const byBase = (name: string): IrFunction | undefined =>
    baseFunctions[base][name as OperationName] === undefined ? undefined : handOn(base, name as OperationName);
  return compileOperations(source, reader, {
    struct: "tcp_congestion_ops",
    operations: Object.fromEntries(Object.entries(operations).filter(([name]) => name !== other)),
    ofPolicies: policyOperations,
    values: { flags: nonRestricted },
    base,
    byDefault: (name) => (policy.operations.includes(name) ? undefined : byBase(name)),
  });
}

/**
 * Compiles a scheduler: for kernels that have `bpf_struct_ops_mptcp_sched_ops`.
 * @throws {CompileError} with every diagnostic, when the policy is outside the language
 */
export function compileScheduler(source: SchedulerSource, reader: SourceReader): CompiledInStack {
  return compileOperations(source, reader, {
    struct: "mptcp_sched_ops",
    operations: schedulerOperations,
    ofPolicies: Object.keys(schedulerOperations),
    values: {},
  });
}

interface Structure {
  readonly struct: string;
  /** By their names in policies: those that are compiled. */
  readonly operations: Readonly<Record<string, Operation>>;
  /** All that policies may define. */
  readonly ofPolicies: readonly string[];
  readonly values: StructOpsSpec["values"];
  readonly base?: Base;
  /** What does an operation that the policy does not define. */
  byDefault?(name: string): IrFunction | undefined;
}

function compileOperations(source: OperationsSource, reader: SourceReader, structure: Structure): CompiledInStack {
  const program = PolicyProgram.reuse([source.file], reader, previous);
  previous = program;
  return remembered(program, [structure.struct, source], () => compileFor(program, source, structure));
}

function compileFor(program: PolicyProgram, source: OperationsSource, structure: Structure): CompiledInStack {
  const { policy, file } = source;
  const { struct, base } = structure;
  const runs = policy.operations.map((name) => {
    const run = program.findRun(file, policy.kind, policy.name, name);
    const known = structure.ofPolicies.join(", ");
    if (!structure.ofPolicies.includes(name))
      throw new CompileError([diagnose("stackOperation", program.position(run), name, known)]);
    program.checkFunction(run);
    return run;
  });
  const layout = layOutStack(policy, runs, program);
  const maps = { ...mapsOf(layout) };
  if (layout.counters.length === 0) delete maps[countersMap];

  const programs: Record<string, ProgramSpec> = {};
  for (const [name, operation] of Object.entries(structure.operations)) {
    const { member } = operation;
    const index = policy.operations.indexOf(name);
    const ir =
      index < 0
        ? structure.byDefault?.(name)
        : lowerOperation({ policy, file }, name, operation, base, layout, program);
    if (!ir) continue;
    optimise(ir);
    const instructions = emitOrExplain(ir, () => program.position(runs[Math.max(index, 0)]));
    programs[member] = {
      name: member,
      type: "structOps",
      attachType: "structOps",
      operation: { struct, member },
      license: "GPL",
      instructions,
      maps: usedMaps(instructions, maps),
    };
  }
  const members = Object.fromEntries(Object.keys(programs).map((member) => [member, member]));
  const values = { name: source.name, ...structure.values };
  return { layout, maps, programs, structOps: { struct, operations: members, values } };
}

function layOutStack(policy: Policy, runs: readonly RunFunction[], program: PolicyProgram): ChainLayout {
  const reasons = [...new Set(runs.flatMap((run) => reasonsOf(run, program)))];
  const layout = layOut([], [policy], [reasons], eventsOf(runs, program));
  const forPackets = layout.state.find(({ kind }) => kind === "perPacket");
  if (forPackets && runs[0])
    throw new CompileError([
      diagnose("wrongHook", program.position(runs[0]), `perPacket state (${forPackets.name})`, titleOf("struct_ops")),
    ]);
  const counters = layout.counters.filter(({ kind }) => kind === "cannot" || kind === "lostEvents");
  return { ...layout, counters };
}
