/**
 * Specs: programs and maps as plain, deterministic data that anyone can build, print, diff and run in the VM. Only
 * `linux/` turns a spec into a kernel object.
 */
import type { Instruction } from "./instruction.ts";

/** Map types, numbered as in `enum bpf_map_type` (include/uapi/linux/bpf.h). */
export const MapType = {
  hash: 1,
  array: 2,
  progArray: 3,
  perCpuHash: 5,
  perCpuArray: 6,
  lruHash: 9,
  lruPerCpuHash: 10,
  /** Keys are prefixes: u32 bits that count, and the bits; a look-up finds the longest that fits. */
  lpmTrie: 11,
  /** Records of sockets, by their file descriptor from outside; they go with the socket. Always BPF_F_NO_PREALLOC. */
  skStorage: 24,
  structOps: 26,
  ringBuffer: 27,
} as const;
export type MapTypeName = keyof typeof MapType;

/** Program types emptcp makes, numbered as in `enum bpf_prog_type`. */
export const ProgramType = { schedCls: 3, xdp: 6, sockOps: 13, tracing: 26, structOps: 27 } as const;
export type ProgramTypeName = keyof typeof ProgramType;

/** Attach types, numbered as in `enum bpf_attach_type`. */
export const AttachType = {
  cgroupSockOps: 3,
  traceIter: 28,
  structOps: 44,
  xdp: 37,
  tcxIngress: 46,
  tcxEgress: 47,
} as const;
export type AttachTypeName = keyof typeof AttachType;

export interface MapSpec {
  /** At most 15 characters of [A-Za-z0-9_.]. */
  readonly name: string;
  readonly type: MapTypeName;
  /** Bytes; 0 for a ring buffer, 4 for arrays. */
  readonly keySize: number;
  /** Bytes; for per-CPU maps that of one CPU's value. 0 for a ring buffer. */
  readonly valueSize: number;
  /** For a ring buffer its size in bytes (a power of two, a multiple of the page size). */
  readonly maxEntries: number;
  /** BPF_F_* flags. */
  readonly flags?: number;
  /** Where in the value a `struct bpf_spin_lock` is: such a map gets BTF that says so. */
  readonly spinLockAt?: number;
  /** Entries written right after creation. */
  readonly contents?: readonly { readonly key: Uint8Array; readonly value: Uint8Array }[];
}

export interface ProgramSpec {
  /** At most 15 characters of [A-Za-z0-9_.]. */
  readonly name: string;
  readonly type: ProgramTypeName;
  readonly attachType?: AttachTypeName;
  /** For tracing programs: the kernel's BTF function to attach to, e.g. `bpf_iter_tcp`. */
  readonly attachTarget?: string;
  /** For struct_ops programs: the operation they are, e.g. `tcp_congestion_ops.ssthresh`. */
  readonly operation?: { readonly struct: string; readonly member: string };
  readonly license: "GPL";
  readonly instructions: readonly Instruction[];
  /** The maps that the instructions refer to, by the key used in references. */
  readonly maps: Readonly<Record<string, MapSpec>>;
}

/** A structure of operations for the kernel to call, all of its programs together. */
export interface StructOpsSpec {
  /** E.g. `tcp_congestion_ops`. */
  readonly struct: string;
  /** By member of the structure, the key of a program. */
  readonly operations: Readonly<Record<string, string>>;
  /** The other members that are not zero: integers, and strings for arrays of characters. */
  readonly values: Readonly<Record<string, number | string>>;
}
