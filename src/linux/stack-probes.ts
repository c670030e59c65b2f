/** Whether the kernel's own MPTCP and TCP take operations from programs, and what those programs can do. */
import * as asm from "../bpf/asm.ts";
import type { Instruction } from "../bpf/instruction.ts";
import type { ProgramSpec } from "../bpf/spec.ts";
import { mapTypeSupport } from "./bpf-support.ts";
import { loadCollection } from "./collection.ts";
import { kernelHasStruct } from "./kernel-btf.ts";
import { present, supported, trying, type Answer, type Probe } from "./probe.ts";
import { loadProgram } from "./programs.ts";
import { createStructOps } from "./struct-ops.ts";

const struct = "tcp_congestion_ops";

/** A program for an operation of congestion control; its context is the array of its arguments, 8 bytes each. */
export function congestionOperation(member: string, instructions: readonly Instruction[]): ProgramSpec {
  return { name: member, type: "structOps", operation: { struct, member }, license: "GPL", instructions, maps: {} };
}

/** An operation that a function of the kernel does, which takes the same arguments. */
function handedOn(member: string, argumentCount: number, kernelFunction: string): ProgramSpec {
  // The context's register is overwritten last.
  const last = argumentCount - 1;
  const load = Array.from({ length: argumentCount }, (_, i) => asm.load(8, last - i + 1, 1, 8 * (last - i)));
  return congestionOperation(member, [...load, asm.callKernel(kernelFunction), asm.exit()]);
}

/** The operations that congestion control cannot do without, by the kernel's Reno. */
export const renoOperations: Readonly<Record<string, ProgramSpec>> = {
  ssthresh: handedOn("ssthresh", 1, "tcp_reno_ssthresh"),
  undo_cwnd: handedOn("undo_cwnd", 1, "tcp_reno_undo_cwnd"),
  cong_avoid: handedOn("cong_avoid", 3, "tcp_reno_cong_avoid"),
};

/** Reads a field of the socket as any structure of the kernel can be read. */
const castingOperation = congestionOperation("ssthresh", [
  asm.load(8, 1, 1, 0),
  asm.loadType(2, "tcp_sock"),
  asm.callKernel("bpf_rdonly_cast"),
  asm.loadField(4, 0, 0, "tcp_sock", "snd_ssthresh"),
  asm.exit(),
]);

function loads(spec: ProgramSpec): Answer {
  return trying(() => {
    loadProgram(spec, {}).close();
    return { present: true, detail: "loads" };
  });
}

export const stackProbes = {
  congestionControl: {
    name: "congestion control in BPF (struct_ops)",
    neededFor: "in-stack policies: windows, rates, weights, coupled algorithms",
    optional: true,
    remedy: "Use Linux 6.4 or newer with CONFIG_BPF_JIT and kernel BTF",
    probe: () =>
      trying(() => {
        using collection = loadCollection({ programs: renoOperations });
        const operations = Object.fromEntries(Object.keys(renoOperations).map((name) => [name, name]));
        createStructOps({ struct, operations, values: { name: "emptcp_probe" } }, collection.programs).close();
        return { present: true, detail: "struct_ops tcp_congestion_ops loads" };
      }),
  },
  cubicFunctions: {
    name: "the kernel's CUBIC, for programs",
    neededFor: "in-stack policies on top of cubic",
    optional: true,
    remedy: "Use a kernel with CONFIG_TCP_CONG_CUBIC=y: functions of modules are out of reach",
    probe: () => loads(handedOn("ssthresh", 1, "cubictcp_recalc_ssthresh")),
  },
  bbrFunctions: {
    name: "the kernel's BBR, for programs",
    neededFor: "in-stack policies on top of bbr",
    optional: true,
    remedy: "Use a kernel with CONFIG_TCP_CONG_BBR=y: functions of modules are out of reach",
    probe: () => loads(handedOn("ssthresh", 1, "bbr_ssthresh")),
  },
  readonlyCast: {
    name: "bpf_rdonly_cast",
    neededFor: "in-stack policies that see the whole MPTCP connection",
    optional: true,
    remedy: "Use Linux 6.2 or newer",
    probe: () => loads(castingOperation),
  },
  socketStorage: {
    name: "records of sockets (sk storage)",
    neededFor: "policies that remember something for each socket",
    optional: true,
    remedy: "Use Linux 5.10 or newer with CONFIG_NET",
    probe: () => supported(mapTypeSupport.skStorage),
  },
  mptcpScheduler: {
    name: "MPTCP schedulers in BPF",
    neededFor: "schedulers of one's own inside the kernel",
    optional: true,
    remedy: "Use a kernel with struct_ops mptcp_sched_ops, which is not in mainline",
    probe: () =>
      trying(() => present(kernelHasStruct("bpf_struct_ops_mptcp_sched_ops"), "struct_ops mptcp_sched_ops by BTF")),
  },
} as const satisfies Record<string, Probe>;
