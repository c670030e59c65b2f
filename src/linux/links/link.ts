/** Links: what ties a program to its hook. A link that nothing holds any more (descriptor, pin) detaches by itself. */
import { readFileSync } from "node:fs";
import { AttachType, type AttachTypeName } from "../../bpf/spec.ts";
import { bpf, objectInfo } from "../bpf-syscall.ts";
import { KernelObject, openById, openPinned } from "../kernel-object.ts";
import type { KernelMap } from "../maps.ts";
import type { KernelProgram } from "../programs.ts";

/** Kinds of links, numbered as in `enum bpf_link_type`. */
export const LinkType = { tracing: 2, cgroup: 3, iter: 4, xdp: 6, structOps: 9, tcx: 11 } as const;
export type LinkTypeName = keyof typeof LinkType;

export interface LinkInfo {
  readonly id: number;
  readonly type: LinkTypeName;
  /** 0 for struct_ops, which are of several programs. */
  readonly programId: number;
  /** For xdp and tcx; 0 once the interface is gone or the link detached. */
  readonly interfaceIndex?: number;
  /** For tcx and cgroups. */
  readonly attachType?: AttachTypeName;
  /** For cgroups: the inode number of the directory; 0 once detached. */
  readonly cgroupId?: bigint;
  /** For struct_ops: of the map that is registered; 0 once detached. */
  readonly mapId?: number;
}

const typeByNumber = new Map(
  Object.entries(LinkType).map(([name, number]) => [number as number, name as LinkTypeName]),
);
const attachTypeByNumber = new Map(
  Object.entries(AttachType).map(([name, number]) => [number as number, name as AttachTypeName]),
);

const BPF_F_REPLACE = 1 << 2;

/** A program attached to a hook, or operations registered with the kernel. */
export class KernelLink extends KernelObject {
  /**
   * Puts another program in place, in one step: every packet meets the old one or the new one. For struct_ops another map
   * of the same structure and name: sockets under the old one stay there until their congestion control is set again.
   * @param expected refuse unless this is the one in place
   * @throws KernelError
   */
  update<T extends KernelProgram | KernelMap>(replacement: T, expected?: T): void {
    bpf(
      "linkUpdate",
      {
        linkFd: this.fd,
        newProgFd: replacement.fd,
        flags: expected ? BPF_F_REPLACE : 0,
        oldProgFd: expected ? expected.fd : 0,
      },
      `replace what ${this.label} has in place by ${replacement.label}`,
      {
        reasons: {
          EPERM: `what is in place is not ${expected?.label ?? "one that may be replaced"}`,
          ENOLINK: "the link is detached",
          EINVAL: "the new one is of another type, for another attachment or, for struct_ops, of another name",
        },
      },
    );
  }

  /** Takes the program off its hook at once, even if the link is pinned or open elsewhere. The object stays. */
  detach(): void {
    bpf("linkDetach", { linkFd: this.fd }, `detach ${this.label}`, {
      reasons: { EOPNOTSUPP: "links of its kind detach when they are closed" },
    });
  }

  info(): LinkInfo {
    return readLinkInfo(this.fd, this.label);
  }
}

/** Opens a pinned link. @throws KernelError; TypeError when something else is pinned there */
export function openLink(path: string): KernelLink {
  return adoptLink(openPinned(path, "link"), `link ${path}`);
}

/** Opens a link by the number the kernel gave it. @throws KernelError */
export function linkFromId(id: number): KernelLink {
  return adoptLink(openById("link", id), `link number ${id}`);
}

function adoptLink(fd: number, label: string): KernelLink {
  const link = new KernelLink(fd, label);
  if (/^link_type:/m.test(readFileSync(`/proc/thread-self/fdinfo/${fd}`, "utf8"))) return link;
  link.close();
  throw new TypeError(`Cannot open ${label}: it is not a link`);
}

/** Bytes of `struct bpf_link_info` up to and with the longest kind read here. */
const LINK_INFO_SIZE = 32;

function readLinkInfo(fd: number, label: string): LinkInfo {
  const view = objectInfo(fd, LINK_INFO_SIZE, `inspect ${label}`);
  const number = view.getUint32(0, true);
  const type = typeByNumber.get(number);
  if (type === undefined) throw new TypeError(`Cannot use ${label}: emptcp has no links of type ${number}`);
  const common = { type, id: view.getUint32(4, true), programId: view.getUint32(8, true) };
  if (type === "xdp") return { ...common, interfaceIndex: view.getUint32(16, true) };
  if (type === "tcx") return { ...common, interfaceIndex: view.getUint32(16, true), ...attachTypeAt(view, 20) };
  if (type === "cgroup") return { ...common, cgroupId: view.getBigUint64(16, true), ...attachTypeAt(view, 24) };
  if (type === "structOps") return { ...common, mapId: view.getUint32(16, true) };
  return common;
}

function attachTypeAt(view: DataView, offset: number): { attachType?: AttachTypeName } {
  const attachType = attachTypeByNumber.get(view.getUint32(offset, true));
  return attachType ? { attachType } : {};
}
