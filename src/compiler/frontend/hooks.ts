/** The hooks a chain can be compiled for, and what differs between them. */
import type { AttachTypeName, ProgramTypeName } from "../../bpf/spec.ts";

export type PacketHook = "xdp" | "tcx_ingress" | "tcx_egress";
/** `sock_ops`: callbacks of a cgroup's sockets. `iter_tcp`: a walk over all sockets, once. `iter_tcp_release`: one that undoes. */
export type SocketHook = "sock_ops" | "iter_tcp" | "iter_tcp_release";
export type Hook = PacketHook | SocketHook;
/** An operation of the kernel's own that a policy does. No chain is there. */
export type StackHook = "struct_ops";

export interface HookFacts {
  readonly programType: ProgramTypeName;
  readonly attachType: AttachTypeName;
  readonly attachTarget?: string;
  readonly direction: "ingress" | "egress";
  /** What the program returns to let the packet (or the kernel) go on; as the 32 bits of r0. */
  readonly proceed: number;
  /** What it returns to drop the packet; for packet hooks. */
  readonly drop?: number;
  /** For messages. */
  readonly title: string;
}

export const hooks: Readonly<Record<Hook, HookFacts>> = {
  // XDP_PASS, XDP_DROP
  xdp: { programType: "xdp", attachType: "xdp", direction: "ingress", proceed: 2, drop: 1, title: "XDP" },
  // TCX_NEXT: programs behind this one run too. TCX_DROP.
  tcx_ingress: {
    programType: "schedCls",
    attachType: "tcxIngress",
    direction: "ingress",
    proceed: 0xffff_ffff,
    drop: 2,
    title: "tc ingress",
  },
  tcx_egress: {
    programType: "schedCls",
    attachType: "tcxEgress",
    direction: "egress",
    proceed: 0xffff_ffff,
    drop: 2,
    title: "tc egress",
  },
  sock_ops: { programType: "sockOps", attachType: "cgroupSockOps", direction: "egress", proceed: 1, title: "socket" },
  iter_tcp: {
    programType: "tracing",
    attachType: "traceIter",
    attachTarget: "bpf_iter_tcp",
    direction: "egress",
    proceed: 0,
    title: "socket",
  },
  iter_tcp_release: {
    programType: "tracing",
    attachType: "traceIter",
    attachTarget: "bpf_iter_tcp",
    direction: "egress",
    proceed: 0,
    title: "socket",
  },
};

/** For messages. */
export const titleOf = (hook: Hook | StackHook): string => (hook === "struct_ops" ? "in-stack" : hooks[hook].title);

export const isPacketHook = (hook: Hook): hook is PacketHook =>
  hook === "xdp" || hook === "tcx_ingress" || hook === "tcx_egress";
