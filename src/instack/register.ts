/** Registering policies as congestion control of the kernel. */
import { compileInStack } from "../compiler/index.ts";
import { isBuiltIn, modulePath } from "../chain/origins.ts";
import { policyFile, sourceReader } from "../chain/sources.ts";
import { bases, type Base, type CongestionControl } from "../policy/stack.ts";
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

/**
 * Registers a policy as congestion control with the kernel, for all network namespaces: all of it, or nothing. Sockets use
 * it that are told to: by TCP_CONGESTION, by a namespace's `net.ipv4.tcp_congestion_control`, or by a chain's actor.
 * @throws InStackExistsError when the name is taken; InStackError; CompileError; VerifierError; KernelError
 */
export function registerInStack(policy: CongestionControl, options: InStackOptions = {}): RunningInStack {
  checkPolicy(policy);
  const { name = policy.name, base = "cubic", stays = true } = options;
  checkBase(base);
  return install(name, () => plan(policy, name, base), stays);
}

/** @internal See `RunningInStack.replace`. */
export function replaceInStack(
  running: RunningInStack,
  policy: CongestionControl,
  { base, move = true }: { readonly base?: Base } & MoveOptions,
): Moved {
  checkPolicy(policy);
  if (base !== undefined) checkBase(base);
  return replace(running, (old) => plan(policy, old.name, base ?? old.base), move);
}

function plan(policy: CongestionControl, name: string, base: Base): StackPlan {
  const { programs, maps, layout, structOps } = compileInStack(
    { name, policy, file: policyFile(policy), base },
    sourceReader,
  );
  return {
    policy: policy.name,
    ...(!isBuiltIn(policy) && { file: modulePath(policy.module) }),
    base,
    defined: policy.operations,
    programs,
    maps,
    layout,
    structOps,
  };
}

/** @throws InStackError */
function checkPolicy(policy: CongestionControl): void {
  const given = policy as Partial<CongestionControl> | undefined;
  if (given?.kind === "actor" && given.on === "stack" && Array.isArray(given.operations)) return;
  throw new InStackError(
    `Cannot register ${given?.name ?? "that"} in the stack: it is no congestion control; congestionControl({ name, … }) makes one`,
  );
}

/** @throws InStackError */
function checkBase(base: Base): void {
  if (bases.includes(base)) return;
  throw new InStackError(`Cannot build on ${base as string}: the bases are ${bases.join(", ")}`);
}
