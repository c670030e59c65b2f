/** Programs on sockets of a cgroup: sock_ops sees the connections that processes of the cgroup (and below) make. */
import { closeSync, constants, openSync } from "node:fs";
import { AttachType } from "../../bpf/spec.ts";
import { bpf } from "../bpf-syscall.ts";
import { programTypeSupport } from "../bpf-support.ts";
import { mounts } from "../mounts.ts";
import type { KernelProgram } from "../programs.ts";
import { KernelLink } from "./link.ts";

/** The path of the mounted cgroup2 hierarchy, wherever the system has it. */
export function findCgroup2(): string | undefined {
  return mounts().find(({ type }) => type === "cgroup2")?.path;
}

export interface SockOpsOptions {
  /** A directory of the cgroup2 file system; its root unless told, which covers every process. */
  readonly cgroup?: string;
}

/** Attaches a sockOps program to a cgroup. @throws KernelError; Error without a cgroup2 file system */
export function attachSockOps(program: KernelProgram, options: SockOpsOptions = {}): KernelLink {
  const path = options.cgroup ?? findCgroup2();
  if (path === undefined) {
    throw new Error(
      `Cannot attach ${program.label}: no cgroup2 file system is mounted. ` +
        "Mount it: mount -t cgroup2 none /sys/fs/cgroup/unified",
    );
  }
  const directory = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const { result } = bpf(
      "linkCreate",
      { progFd: program.fd, target: directory, attachType: AttachType.cgroupSockOps },
      `attach ${program.label} to cgroup ${path}`,
      {
        capabilities: ["CAP_BPF", "CAP_NET_ADMIN"],
        features: [programTypeSupport.sockOps!],
        reasons: {
          EBADF: "it is no directory of a cgroup2 file system",
          EPERM: "a program on a cgroup above does not let others in, or CAP_NET_ADMIN is missing",
        },
      },
    );
    return new KernelLink(result, `sockOps link on ${path}`);
  } finally {
    closeSync(directory);
  }
}
