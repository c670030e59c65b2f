/** Keeps programs on sockets to the network namespace of their chain: cgroups, which they are attached to, know no namespaces. */
import { alu64, call, exit, jump64, loadImm64 } from "../bpf/asm.ts";
import type { ProgramSpec } from "../bpf/spec.ts";
import type { CompiledChain } from "../compiler/index.ts";
import { netnsCookie } from "../linux/netns-cookie.ts";
import type { ChainOptions } from "./policy-chain.ts";

/** What sock_ops programs return to let the kernel go on. */
const proceed = 1;

/**
 * The chain, for sockets of the current network namespace only; a cgroup that is named without a namespace says by itself
 * whose sockets are meant.
 */
export function keepToNamespace(compiled: CompiledChain, { cgroup, netns }: ChainOptions): CompiledChain {
  const program = compiled.programs["sock_ops"];
  if (!program || (cgroup !== undefined && netns === undefined)) return compiled;
  return { ...compiled, programs: { ...compiled.programs, sock_ops: onlyIn(netnsCookie(), program) } };
}

function onlyIn(cookie: bigint, program: ProgramSpec): ProgramSpec {
  const position = program.instructions[0]?.position;
  const check = [
    alu64.mov.reg(6, 1),
    call("getNetnsCookie"),
    loadImm64(1, cookie),
    jump64.eq.reg(0, 1, 2),
    alu64.mov.imm(0, proceed),
    exit(),
    alu64.mov.reg(1, 6),
  ];
  const placed = position ? check.map((instruction) => ({ ...instruction, position })) : check;
  return { ...program, instructions: [...placed, ...program.instructions] };
}
