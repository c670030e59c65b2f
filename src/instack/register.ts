/** Registering policies as congestion control of the kernel. */
import { release } from "node:os";
import { compileInStack, compileScheduler } from "../compiler/index.ts";
import { isBuiltIn, modulePath } from "../chain/origins.ts";
import { policyFile, sourceReader } from "../chain/sources.ts";
import { bases, type Base, type CongestionControl, type Scheduler } from "../policy/stack.ts";
import { kernelHasStruct } from "../linux/index.ts";
import { InStackError } from "./errors.ts";
import { install, replace, type StackPlan } from "./install.ts";
import type { Moved } from "./move.ts";
import type { MoveOptions, RunningInStack } from "./running.ts";

export interface InStackOptions {
  /** What sockets and namespaces call it: letters, digits and _, at most 15; the policy's name unless given. */
  readonly name?: string;
  /** The algorithm that does what the policy does not; `cubic` unless given. */
  readonly base?: Base;
  /** False: it goes with this process, at the latest with the next command that looks. True unless given. */
  readonly stays?: boolean;
}

/** What the kernel's stack can be given. */
export type StackPolicy = CongestionControl | Scheduler;

/**
 * Registers a policy as congestion control with the kernel, for all network namespaces: all of it, or nothing. Sockets use
 * it that are told to: by TCP_CONGESTION, by a namespace's `net.ipv4.tcp_congestion_control`, or by a chain's actor. A
 * scheduler is registered likewise, for namespaces whose `net.mptcp.scheduler` names it, with kernels that take any.
 * @throws InStackExistsError when the name is taken; InStackError, also for a scheduler where the kernel takes none;
 * CompileError; VerifierError; KernelError
 */
export function registerInStack(policy: StackPolicy, options: InStackOptions = {}): RunningInStack {
  checkPolicy(policy);
  const { name = policy.name, base = "cubic", stays = true } = options;
  checkBase(base);
  if (isScheduler(policy)) checkSchedulers(name);
  return install(name, () => plan(policy, name, base), stays);
}

/** @internal See `RunningInStack.replace`. */
export function replaceInStack(
  running: RunningInStack,
  policy: StackPolicy,
  { base, move = true }: { readonly base?: Base } & MoveOptions,
): Moved {
  checkPolicy(policy);
  if (base !== undefined) checkBase(base);
  const { schedules = false, name } = running.description;
  if (schedules !== isScheduler(policy))
    throw new InStackError(
      `Cannot replace ${name} in the stack by ${policy.name}: one of them is a scheduler, the other congestion control`,
    );
  return replace(running, (old) => plan(policy, old.name, base ?? old.base ?? "cubic"), move);
}

const isScheduler = (policy: StackPolicy): policy is Scheduler => "schedules" in policy;

function plan(policy: StackPolicy, name: string, base: Base): StackPlan {
  const file = policyFile(policy);
  const { programs, maps, layout, structOps } = isScheduler(policy)
    ? compileScheduler({ name, policy, file }, sourceReader)
    : compileInStack({ name, policy, file, base }, sourceReader);
  return {
    policy: policy.name,
    ...(!isBuiltIn(policy) && { file: modulePath(policy.module) }),
    ...(isScheduler(policy) ? { schedules: true as const } : { base }),
    defined: policy.operations,
    programs,
    maps,
    layout,
    structOps,
  };
}

/** @throws InStackError */
function checkPolicy(policy: StackPolicy): void {
  const given = policy as Partial<StackPolicy> | undefined;
  if (given?.kind === "actor" && given.on === "stack" && Array.isArray(given.operations)) return;
  throw new InStackError(
    `Cannot register ${given?.name ?? "that"} in the stack: it is no congestion control, nor a scheduler; congestionControl({ name, … }) makes one`,
  );
}

/** @throws InStackError */
function checkSchedulers(name: string): void {
  if (kernelHasStruct("bpf_struct_ops_mptcp_sched_ops")) return;
  throw new InStackError(
    `Cannot register scheduler ${name} in the stack: Linux ${release()} takes none from programs, its BTF has no struct_ops ` +
      "mptcp_sched_ops. Mainline kernels have none; emptcp doctor tells what this one takes",
  );
}

/** @throws InStackError */
function checkBase(base: Base): void {
  if (bases.includes(base)) return;
  throw new InStackError(`Cannot build on ${base as string}: the bases are ${bases.join(", ")}`);
}
