/**
 * Kernel features of bpf(2), each found by trying the smallest thing that needs it; versions are only told to people.
 * Answers are kept: a kernel does not change under a process, its capabilities are asked for separately.
 */
import { closeSync } from "node:fs";
import { mapInfo } from "../bpf/map-info.ts";
import { AttachType, MapType, ProgramType, type MapSpec, type MapTypeName, type ProgramTypeName } from "../bpf/spec.ts";
import { tryBpf } from "./bpf-syscall.ts";
import { errnos } from "./ffi.ts";
import { kernelHasStruct } from "./kernel-btf.ts";
import type { KernelFeature } from "./kernel-error.ts";
import { pageSize } from "./memory.ts";

type TypedMap = "skStorage" | "structOps";

function feature(name: string, needs: string, probe: () => boolean): KernelFeature {
  let answer: boolean | undefined;
  return { name, needs, present: () => (answer ??= probe()) };
}

const NO_SUCH_INTERFACE = 0x7fff_ffff;
const LOOPBACK = 1;
/** BPF_F_NO_PREALLOC, without which there are no tries and no storage of sockets. */
const NO_PREALLOC = 1;
const NATIVE_XDP = 1 << 2;

/** Those that can be made without type information. */
const mapShapes: Readonly<
  Record<Exclude<MapTypeName, TypedMap>, readonly [key: number, value: number, entries: number, needs: string]>
> = {
  hash: [4, 4, 1, "Linux >= 3.19, CONFIG_BPF_SYSCALL"],
  array: [4, 4, 1, "Linux >= 3.19, CONFIG_BPF_SYSCALL"],
  progArray: [4, 4, 1, "Linux >= 4.2, CONFIG_BPF_SYSCALL"],
  perCpuHash: [4, 8, 1, "Linux >= 4.6"],
  perCpuArray: [4, 8, 1, "Linux >= 4.6"],
  lruHash: [4, 4, 1, "Linux >= 4.10"],
  lruPerCpuHash: [4, 8, 1, "Linux >= 4.10"],
  lpmTrie: [8, 4, 1, "Linux >= 4.11"],
  ringBuffer: [0, 0, pageSize, "Linux >= 5.8"],
};

const plainMapSupport = Object.fromEntries(
  Object.entries(mapShapes).map(([name, [keySize, valueSize, maxEntries, needs]]) => [
    name,
    feature(`map type ${name}`, needs, () =>
      accepted(
        tryBpf("mapCreate", {
          type: MapType[name as MapTypeName],
          keySize,
          valueSize,
          maxEntries,
          flags: name === "lpmTrie" ? NO_PREALLOC : 0,
        }).result,
      ),
    ),
  ]),
) as Readonly<Record<Exclude<MapTypeName, TypedMap>, KernelFeature>>;

/** A record of 4 bytes. */
const record: MapSpec = { name: "probe", type: "skStorage", keySize: 4, valueSize: 4, maxEntries: 0 };

function makesSocketStorage(): boolean {
  const { btf, keyType, valueType } = mapInfo(record)!;
  const btfFd = tryBpf("btfLoad", { btf, size: btf.length }).result;
  if (btfFd < 0) return false;
  try {
    const types = { btfFd, btfKeyTypeId: keyType, btfValueTypeId: valueType };
    const { keySize, valueSize } = record;
    const type = MapType.skStorage;
    return accepted(tryBpf("mapCreate", { type, keySize, valueSize, flags: NO_PREALLOC, ...types }).result);
  } finally {
    closeSync(btfFd);
  }
}

/** Maps of a type; that of operations by the kernel's own type information, which they need. */
export const mapTypeSupport: Readonly<Record<MapTypeName, KernelFeature>> = {
  ...plainMapSupport,
  skStorage: feature("map type skStorage", "Linux >= 5.10, CONFIG_NET, CONFIG_DEBUG_INFO_BTF", makesSocketStorage),
  structOps: feature("map type structOps", "Linux >= 5.6, CONFIG_BPF_JIT", () =>
    kernelHasStruct("bpf_struct_ops_tcp_congestion_ops"),
  ),
};

/** `r0 = 0; exit`. */
const smallest = Uint8Array.from([0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]);

function loadSmallest(type: ProgramTypeName, expectedAttachType = 0): number {
  return tryBpf("progLoad", {
    type: ProgramType[type],
    instructions: smallest,
    instructionCount: 2,
    license: "GPL",
    expectedAttachType,
  }).result;
}

/** Program types that load without a target in the kernel. */
export const programTypeSupport: Readonly<Partial<Record<ProgramTypeName, KernelFeature>>> = {
  schedCls: feature("program type schedCls (tc)", "Linux >= 4.1, CONFIG_NET", () => accepted(loadSmallest("schedCls"))),
  xdp: feature("program type xdp", "Linux >= 4.8, CONFIG_NET", () => accepted(loadSmallest("xdp"))),
  sockOps: feature("program type sockOps", "Linux >= 4.13, CONFIG_INET, CONFIG_CGROUP_BPF", () =>
    accepted(loadSmallest("sockOps", AttachType.cgroupSockOps)),
  ),
};

/** The errno of a link that cannot be made, to tell a kernel that knows its kind from one that does not. */
function refusalOfLink(type: "xdp" | "schedCls", attachType: number, target: number, flags: number): number {
  const progFd = loadSmallest(type, type === "xdp" ? attachType : 0);
  if (progFd < 0) return errnos["EINVAL"];
  try {
    const outcome = tryBpf("linkCreate", { progFd, target, attachType, flags });
    accepted(outcome.result);
    return outcome.errno;
  } finally {
    closeSync(progFd);
  }
}

export const tcxLinks = feature("tcx links", "Linux >= 6.6, CONFIG_NET_XGRESS", () => {
  return refusalOfLink("schedCls", AttachType.tcxIngress, NO_SUCH_INTERFACE, 0) === errnos["ENODEV"];
});

/** Loopback is in every namespace and has no native XDP: refused for that reason where links are known. */
export const xdpLinks = feature("XDP links", "Linux >= 5.9", () => {
  return refusalOfLink("xdp", AttachType.xdp, LOOPBACK, NATIVE_XDP) !== errnos["EINVAL"];
});

export const batchOperations = feature("batch operations on maps", "Linux >= 5.6", () => {
  const mapFd = tryBpf("mapCreate", { type: MapType.hash, keySize: 4, valueSize: 4, maxEntries: 1 }).result;
  if (mapFd < 0) return false;
  try {
    const keys = new Uint8Array(4);
    return tryBpf("mapUpdateBatch", { mapFd, keys, values: new Uint8Array(4), count: 1 }).result === 0;
  } finally {
    closeSync(mapFd);
  }
});

export const mappableArrays = feature("arrays mapped into memory", "Linux >= 5.5", () =>
  accepted(
    tryBpf("mapCreate", { type: MapType.array, keySize: 4, valueSize: 8, maxEntries: 1, flags: 1 << 10 }).result,
  ),
);

function accepted(fd: number): boolean {
  if (fd < 0) return false;
  closeSync(fd);
  return true;
}
