/**
 * Compiles in-stack policies: one program for each operation of `struct tcp_congestion_ops` that the policy or its base
 * defines. Pure: the same input gives the same bytes.
 */
import type { MapSpec, ProgramSpec, StructOpsSpec } from "../bpf/spec.ts";
import type { Base, CongestionControl } from "../policy/stack.ts";
import { optimise } from "./backend/index.ts";
import { emitOrExplain, usedMaps } from "./compile.ts";
import { CompileError, diagnose } from "./frontend/diagnostics.ts";
import { eventsOf } from "./frontend/events.ts";
import { reasonsOf } from "./frontend/fuse.ts";
import { titleOf } from "./frontend/hooks.ts";
import {
  baseFunctions,
  isPolicyOperation,
  operations,
  policyOperations,
  windowOperation,
  type OperationName,
} from "./frontend/operations.ts";
import { PolicyProgram, type RunFunction, type SourceReader } from "./frontend/program.ts";
import { handOn, lowerOperation } from "./frontend/stack-operation.ts";
import { countersMap, layOut, mapsOf, type ChainLayout } from "./layout.ts";

export interface InStackSource {
  /** Under which it is to be registered: at most 15 characters, unique on the host. */
  readonly name: string;
  readonly policy: CongestionControl;
  /** That defines the policy. */
  readonly file: string;
  readonly base: Base;
}

export interface CompiledInStack {
  /** The policy is actor 0. Counters are those of `cannot`, and of events that were lost. */
  readonly layout: ChainLayout;
  readonly maps: Readonly<Record<string, MapSpec>>;
  /** By member of the structure. */
  readonly programs: Readonly<Record<string, ProgramSpec>>;
  readonly structOps: StructOpsSpec;
}

const struct = "tcp_congestion_ops";
/** TCP_CONG_NON_RESTRICTED (include/net/tcp.h): network namespaces and unprivileged programs may choose it. */
const nonRestricted = 1;

let previous: PolicyProgram | undefined;

/**
 * Compiles a policy on top of `source.base`. Of `congAvoid` and `congControl`, the one that the base does not have is left out.
 * @throws {CompileError} with every diagnostic, when the policy is outside the language
 */
export function compileInStack(source: InStackSource, reader: SourceReader): CompiledInStack {
  const { policy, file, base } = source;
  const program = PolicyProgram.reuse([file], reader, previous);
  previous = program;
  const defined = policy.operations.map((operation) => checkedOperation(operation, source, program));
  const runs = defined.map((operation) => program.findRun(file, policy.kind, policy.name, operation));
  for (const run of runs) program.checkFunction(run);
  const layout = layOutStack(policy, runs, program);
  const maps = { ...mapsOf(layout) };
  if (layout.counters.length === 0) delete maps[countersMap];

  const programs: Record<string, ProgramSpec> = {};
  const other = windowOperation(base) === "congAvoid" ? "congControl" : "congAvoid";
  for (const [name, { member }] of Object.entries(operations) as [OperationName, { member: string }][]) {
    const isDefined = defined.includes(name);
    if (name === other || (!isDefined && baseFunctions[base][name] === undefined)) continue;
    const ir = isDefined ? lowerOperation({ policy, file }, name, base, layout, program) : handOn(base, name);
    optimise(ir);
    const instructions = emitOrExplain(ir, () => program.position(runs[defined.indexOf(name)] ?? runs[0]));
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
  return {
    layout,
    maps,
    programs,
    structOps: { struct, operations: members, values: { name: source.name, flags: nonRestricted } },
  };
}

function checkedOperation(name: string, { policy, file }: InStackSource, program: PolicyProgram): OperationName {
  if (isPolicyOperation(name)) return name;
  const position = program.position(program.findRun(file, policy.kind, policy.name, name));
  throw new CompileError([diagnose("stackOperation", position, name, policyOperations.join(", "))]);
}

function layOutStack(policy: CongestionControl, runs: readonly RunFunction[], program: PolicyProgram): ChainLayout {
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
