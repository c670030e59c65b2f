/**
 * What this machine offers and emptcp needs, found by trying, never by version. What `doctor` prints, and what commands ask
 * for before they begin, so that the error names everything that is missing at once.
 */
import { existsSync, readFileSync } from "node:fs";
import { release } from "node:os";
import * as asm from "../bpf/asm.ts";
import type { ProgramSpec } from "../bpf/spec.ts";
import {
  batchOperations,
  mapTypeSupport,
  mappableArrays,
  programTypeSupport,
  tcxLinks,
  xdpLinks,
} from "./bpf-support.ts";
import { tryBpf } from "./bpf-syscall.ts";
import { findBpffs } from "./bpffs.ts";
import { missingCapabilities, type Capability } from "./capabilities.ts";
import { errnoName } from "./ffi.ts";
import { findCgroup2 } from "./links/cgroup.ts";
import { createIterLink } from "./links/iter.ts";
import { encodeAttributes, NetlinkSocket } from "./netlink.ts";
import { both, present, supported, trying, type Probe } from "./probe.ts";
import { loadProgram } from "./programs.ts";
import { closeSocket, openSocket, SOCK_STREAM } from "./socket-calls.ts";
import { stackProbes } from "./stack-probes.ts";

export interface Feature {
  readonly id: FeatureId;
  /** For people, e.g. `tcx links`. */
  readonly name: string;
  /** What does not work without it. */
  readonly neededFor: string;
  /** Whether everything essential works without it. */
  readonly optional: boolean;
  readonly present: boolean;
  /** What was found, e.g. where something is mounted or how the kernel refused. */
  readonly detail: string;
  /** What to do when it is missing. */
  readonly remedy: string;
}

const AF_INET = 2;
const IPPROTO_MPTCP = 262;
const NETLINK_GENERIC = 16;

const probes = {
  capBpf: capability("CAP_BPF", "loading programs and maps"),
  capNetAdmin: capability("CAP_NET_ADMIN", "attaching to interfaces, MPTCP paths"),
  capPerfmon: capability("CAP_PERFMON", "reading kernel structures (limits on running connections, in-stack policies)"),
  capSysAdmin: capability("CAP_SYS_ADMIN", "the lab's network namespaces, mounting the BPF file system, `chain list`"),
  bpf: {
    name: "bpf(2)",
    neededFor: "everything",
    remedy: "Use a kernel with CONFIG_BPF_SYSCALL=y, outside of containers that filter the call",
    probe() {
      // Every kernel with the call knows a map of arrays' kind; why it refuses tells more than that it does.
      const number = tryBpf("mapGetFdById", { id: 0xffff_ffff });
      if (errnoName(number.errno) === "ENOSYS") return { present: false, detail: "ENOSYS: the kernel lacks the call" };
      return supported(mapTypeSupport.array);
    },
  },
  jit: {
    name: "BPF JIT compiler",
    neededFor: "programs at full speed",
    optional: true,
    remedy: "sysctl net.core.bpf_jit_enable=1 (CONFIG_BPF_JIT)",
    probe: () =>
      trying(() => {
        using program = loadProgram(smallest, {});
        const { jitedBytes } = program.info();
        return { present: jitedBytes > 0, detail: jitedBytes > 0 ? "enabled" : "programs are interpreted" };
      }),
  },
  bpffs: {
    name: "BPF file system",
    neededFor: "chains that outlive the command that made them",
    remedy: "mount -t bpf bpf /sys/fs/bpf",
    probe() {
      const path = findBpffs();
      if (path !== undefined) return { present: true, detail: `mounted at ${path}` };
      const mountable = missingCapabilities(["CAP_SYS_ADMIN"]).length === 0;
      return { present: mountable, detail: mountable ? "not mounted yet, will be when needed" : "not mounted" };
    },
  },
  btf: {
    name: "kernel BTF",
    neededFor: "programs that read kernel structures (limits on running connections)",
    remedy: "Use a kernel with CONFIG_DEBUG_INFO_BTF=y, as distributions' are",
    probe: () => present(existsSync("/sys/kernel/btf/vmlinux"), "/sys/kernel/btf/vmlinux"),
  },
  xdp: {
    name: "XDP programs and links",
    neededFor: "chains on XDP",
    remedy: "Use Linux 5.9 or newer",
    probe: () => both(programTypeSupport.xdp!, xdpLinks),
  },
  tcx: {
    name: "tcx links",
    neededFor: "chains on tc, several per interface",
    remedy: "Use Linux 6.6 or newer with CONFIG_NET_XGRESS",
    probe: () => both(programTypeSupport.schedCls!, tcxLinks),
  },
  sockOps: {
    name: "sock_ops programs on cgroup2",
    neededFor: "limits on single subflows of this host",
    remedy: "Use a kernel with CONFIG_CGROUP_BPF, and mount cgroup2: mount -t cgroup2 none /sys/fs/cgroup/unified",
    probe() {
      const answer = supported(programTypeSupport.sockOps!);
      if (!answer.present) return answer;
      const path = findCgroup2();
      return path === undefined ? present(false, "no cgroup2 is mounted") : present(true, `cgroup2 at ${path}`);
    },
  },
  tcpIterator: {
    name: "TCP iterator with bpf_setsockopt",
    neededFor: "limits that reach subflows that are already running, at once",
    optional: true,
    remedy: "Use Linux 6.0 or newer with kernel BTF",
    probe: () =>
      trying(() => {
        using program = loadProgram(tcpIterator, {});
        using _link = createIterLink(program);
        return { present: true, detail: "loads and attaches" };
      }),
  },
  ringBuffer: {
    name: "BPF ring buffer",
    neededFor: "events from policies",
    remedy: "Use Linux 5.8 or newer",
    probe: () => supported(mapTypeSupport.ringBuffer),
  },
  mappableArrays: {
    name: "arrays mapped into memory",
    neededFor: "reading counters without system calls",
    optional: true,
    remedy: "Use Linux 5.5 or newer",
    probe: () => supported(mappableArrays),
  },
  batch: {
    name: "batch operations on maps",
    neededFor: "large sets of selectors at full speed (without: one entry at a time)",
    optional: true,
    remedy: "Use Linux 5.6 or newer",
    probe: () => supported(batchOperations),
  },
  mptcp: {
    name: "MPTCP",
    neededFor: "MPTCP connections of this host",
    remedy: "Use a kernel with CONFIG_MPTCP=y, and sysctl net.mptcp.enabled=1",
    probe: () =>
      trying(() => {
        closeSocket(openSocket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP));
        const path = "/proc/sys/net/mptcp/enabled";
        const enabled = existsSync(path) && readFileSync(path, "utf8").trim() === "1";
        return present(enabled, `net.mptcp.enabled is ${enabled ? 1 : 0}`);
      }),
  },
  mptcpPathManager: {
    name: "MPTCP path manager",
    neededFor: "adding paths to MPTCP connections",
    remedy: "Use a kernel with CONFIG_MPTCP=y, Linux 5.7 or newer",
    probe: () =>
      trying(() => {
        const socket = new NetlinkSocket(NETLINK_GENERIC);
        try {
          const header = Uint8Array.of(CTRL_CMD_GETFAMILY, 1, 0, 0);
          const name = encodeAttributes({ name: [CTRL_ATTR_FAMILY_NAME, "string"] }, { name: "mptcp_pm" });
          socket.request(GENL_ID_CTRL, 0, Uint8Array.from([...header, ...name]));
          return { present: true, detail: "netlink family mptcp_pm" };
        } finally {
          socket.close();
        }
      }),
  },
  ...stackProbes,
} as const satisfies Record<string, Probe>;
export type FeatureId = keyof typeof probes;

const GENL_ID_CTRL = 0x10;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_ATTR_FAMILY_NAME = 2;
const SOL_SOCKET = 1;
const SO_MAX_PACING_RATE = 47;

const smallest: ProgramSpec = {
  name: "probe",
  type: "schedCls",
  license: "GPL",
  instructions: [asm.alu64.mov.imm(0, 0), asm.exit()],
  maps: {},
};

/** Sets the pacing rate of each TCP socket it is shown; only loaded, never run. */
const tcpIterator: ProgramSpec = {
  name: "probe",
  type: "tracing",
  attachType: "traceIter",
  attachTarget: "bpf_iter_tcp",
  license: "GPL",
  instructions: [
    asm.loadField(8, 1, 1, "bpf_iter__tcp", "sk_common"),
    asm.jump64.eq.imm(1, 0, 10),
    asm.call("skcToTcpSock"),
    asm.jump64.eq.imm(0, 0, 8),
    asm.storeImm(4, 10, -4, -1),
    asm.alu64.mov.reg(1, 0),
    asm.alu64.mov.imm(2, SOL_SOCKET),
    asm.alu64.mov.imm(3, SO_MAX_PACING_RATE),
    asm.alu64.mov.reg(4, 10),
    asm.alu64.add.imm(4, -4),
    asm.alu64.mov.imm(5, 4),
    asm.call("setsockopt"),
    asm.alu64.mov.imm(0, 0),
    asm.exit(),
  ],
  maps: {},
};

/** Probes one feature. */
export function probeFeature(id: FeatureId): Feature {
  const probe: Probe = probes[id];
  const { name, neededFor, remedy, optional = false } = probe;
  return { id, name, neededFor, optional, remedy, ...probe.probe() };
}

/** Probes all features, in the order in which they build on each other. */
export function probeFeatures(): Feature[] {
  return (Object.keys(probes) as FeatureId[]).map(probeFeature);
}

/** Features that were asked for and are not there. */
export class MissingFeaturesError extends Error {
  readonly missing: readonly Feature[];
  constructor(missing: readonly Feature[]) {
    const lines = missing.map(({ name, neededFor, detail, remedy }) => {
      return `- ${name} (needed for ${neededFor}): ${detail}. ${remedy}`;
    });
    super(`Linux ${release()} here lacks:\n${lines.join("\n")}`);
    this.name = "MissingFeaturesError";
    this.missing = missing;
  }
}

/** @throws MissingFeaturesError that names all that are missing, each with its remedy */
export function requireFeatures(ids: readonly FeatureId[]): void {
  const missing = ids.map(probeFeature).filter((feature) => !feature.present);
  if (missing.length > 0) throw new MissingFeaturesError(missing);
}

function capability(name: Capability, neededFor: string): Probe {
  return {
    name,
    neededFor,
    remedy: `Run as root or with ${name} (setcap or systemd's AmbientCapabilities)`,
    probe() {
      const missing = missingCapabilities([name]).length > 0;
      return { present: !missing, detail: missing ? "not effective" : "effective" };
    },
  };
}
