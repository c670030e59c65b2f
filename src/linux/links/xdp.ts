/** Programs on XDP: the first to see a packet that an interface receives. */
import { AttachType } from "../../bpf/spec.ts";
import { tryBpf } from "../bpf-syscall.ts";
import { xdpLinks } from "../bpf-support.ts";
import { errnos } from "../ffi.ts";
import { interfaceIndex, type InterfaceReference } from "../interfaces.ts";
import { explainRefusal } from "../kernel-error.ts";
import type { KernelProgram } from "../programs.ts";
import { KernelLink } from "./link.ts";

/** XDP_FLAGS_* (include/uapi/linux/if_link.h). */
const modeFlags = { generic: 1 << 1, native: 1 << 2 } as const;
/** `native` runs in the driver, before the packet is an skb; `generic` works on every interface and is slower. */
export type XdpMode = keyof typeof modeFlags;

export interface XdpOptions {
  readonly interface: InterfaceReference;
  /** Native where the driver has it, else generic, unless told. */
  readonly mode?: XdpMode;
}

export class XdpLink extends KernelLink {
  readonly mode: XdpMode;
  constructor(fd: number, label: string, mode: XdpMode) {
    super(fd, label);
    this.mode = mode;
  }
}

/** Attaches a program to an interface of the current network namespace. @throws KernelError, NoSuchInterfaceError */
export function attachXdp(program: KernelProgram, options: XdpOptions): XdpLink {
  const target = interfaceIndex(options.interface);
  const modes: readonly XdpMode[] = options.mode ? [options.mode] : ["native", "generic"];
  const label = `XDP link on ${options.interface}`;
  let refusal = 0;
  for (const mode of modes) {
    const outcome = tryBpf("linkCreate", {
      progFd: program.fd,
      target,
      attachType: AttachType.xdp,
      flags: modeFlags[mode],
    });
    if (outcome.result >= 0) return new XdpLink(outcome.result, label, mode);
    refusal = outcome.errno;
    // A driver says in many ways that it cannot: ERANGE and EINVAL are about its MTU and queues, for instance.
    if (refusal === errnos["EBUSY"] || refusal === errnos["EPERM"]) break;
  }
  throw explainRefusal(`attach ${program.label} to XDP of ${options.interface}`, refusal, {
    capabilities: ["CAP_BPF", "CAP_NET_ADMIN"],
    features: [xdpLinks],
    reasons: {
      EBUSY: "another program is on XDP of this interface",
      EEXIST: "another program is on XDP of this interface",
      EOPNOTSUPP: "the driver has no native XDP",
      ERANGE: "the MTU of the interface or of its peer is too large for native XDP",
    },
  });
}
