/** Programs on tc through tcx: any number per interface and direction, in order, each free to pass on to the next. */
import { AttachType } from "../../bpf/spec.ts";
import { bpf } from "../bpf-syscall.ts";
import { tcxLinks } from "../bpf-support.ts";
import { interfaceIndex, type InterfaceReference } from "../interfaces.ts";
import type { KernelProgram } from "../programs.ts";
import { KernelLink } from "./link.ts";

/** Verdicts of programs on tcx; `next` asks the following program, and passes the packet after the last one. */
export const TcxVerdict = { next: -1, pass: 0, drop: 2, redirect: 7 } as const;

const BPF_F_BEFORE = 1 << 3;
const BPF_F_AFTER = 1 << 4;
const BPF_F_LINK = 1 << 13;

export interface TcxOptions {
  readonly interface: InterfaceReference;
  readonly direction: "ingress" | "egress";
  /** Run before this link, which is on the same hook; after all others unless told. */
  readonly before?: KernelLink;
  /** Run right after this link. */
  readonly after?: KernelLink;
  /** Refuse with ESTALE unless the hook is as `queryTcxOrder()` saw it. */
  readonly revision?: bigint;
}

const attachTypes = { ingress: AttachType.tcxIngress, egress: AttachType.tcxEgress } as const;

/** Attaches a program to an interface of the current network namespace. @throws KernelError, NoSuchInterfaceError */
export function attachTcx(program: KernelProgram, options: TcxOptions): KernelLink {
  const anchor = options.before ?? options.after;
  const where = `${options.direction} of ${options.interface}`;
  const { result } = bpf(
    "linkCreate",
    {
      progFd: program.fd,
      target: interfaceIndex(options.interface),
      attachType: attachTypes[options.direction],
      flags: anchor ? (options.before ? BPF_F_BEFORE : BPF_F_AFTER) | BPF_F_LINK : 0,
      relative: anchor?.fd ?? 0,
      expectedRevision: options.revision ?? 0n,
    },
    `attach ${program.label} to ${where}`,
    {
      capabilities: ["CAP_BPF", "CAP_NET_ADMIN"],
      features: [tcxLinks],
      reasons: {
        ENODEV: "there is no interface with that index in this network namespace",
        EEXIST: "this very program is on the hook already",
        ENOENT: "the link to stand beside is not on this hook",
        ESTALE: "the programs on the hook have changed meanwhile",
        ERANGE: "64 programs, the most there can be, are on this hook",
      },
    },
  );
  return new KernelLink(result, `tcx link on ${where}`);
}

/** What runs on a hook. */
export interface TcxOrder {
  /** Grows with every change of the hook. */
  readonly revision: bigint;
  /** The ids of the programs and links, in the order they run. */
  readonly entries: readonly { readonly programId: number; readonly linkId: number }[];
}

type Hook = Pick<TcxOptions, "interface" | "direction">;

/** @throws KernelError, NoSuchInterfaceError */
export function queryTcxOrder(hook: Hook): TcxOrder {
  const MOST = 64;
  const programIds = new Uint32Array(MOST);
  const linkIds = new Uint32Array(MOST);
  const outcome = bpf(
    "progQuery",
    {
      target: interfaceIndex(hook.interface),
      attachType: attachTypes[hook.direction],
      programIds: new Uint8Array(programIds.buffer),
      linkIds: new Uint8Array(linkIds.buffer),
      count: MOST,
    },
    `list the programs on ${hook.direction} of ${hook.interface}`,
    { capabilities: ["CAP_NET_ADMIN"], features: [tcxLinks] },
  );
  const entries = Array.from({ length: outcome.read("count") }, (_, index) => {
    return { programId: programIds[index], linkId: linkIds[index] };
  });
  return { revision: outcome.readWide("revision"), entries };
}

/** The ids of the programs and links on a hook, in the order they run. @throws KernelError, NoSuchInterfaceError */
export function queryTcx(hook: Hook): { programId: number; linkId: number }[] {
  return [...queryTcxOrder(hook).entries];
}
