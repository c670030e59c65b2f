/** The types of the running kernel (/sys/kernel/btf/vmlinux): numbers of functions, offsets of structure fields. */
import { readFileSync } from "node:fs";
import { release } from "node:os";
import { Btf, BtfError } from "../bpf/btf/index.ts";
import { explainRefusal, KernelError } from "./kernel-error.ts";
import { errnos } from "./ffi.ts";

const path = "/sys/kernel/btf/vmlinux";

let kernel: Btf | undefined;

/** The kernel's types, read once. @throws KernelError on a kernel without BTF */
export function kernelBtf(): Btf {
  if (kernel) return kernel;
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    const errno = errnos[(cause as NodeJS.ErrnoException).code ?? ""] ?? 0;
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw explainRefusal(`read ${path}`, errno);
    throw new KernelError(
      {
        action: "look up kernel types",
        errno,
        reason: `Linux ${release()} here has no type information`,
        missing: "CONFIG_DEBUG_INFO_BTF",
        remedy: "Use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as distributions' are",
      },
      { cause },
    );
  }
  return (kernel = new Btf(bytes));
}

/** A structure, field or function that the running kernel does not have. */
export class NoKernelTypeError extends Error {
  /** E.g. `tcp_sock.snd_cwnd`. */
  readonly symbol: string;
  constructor(symbol: string, kind: string, options?: ErrorOptions) {
    super(`Linux ${release()} has no ${kind} ${symbol}`, options);
    this.name = "NoKernelTypeError";
    this.symbol = symbol;
  }
}

const offsets = new Map<string, number>();

/**
 * The byte offset of a field, which may be a path (`skc_v6_daddr.in6_u.u6_addr8[4]`); anonymous members are looked through.
 * @throws NoKernelTypeError, also for a bit field, which has no address; KernelError on a kernel without BTF
 */
export function kernelFieldOffset(struct: string, field: string): number {
  const symbol = `${struct}.${field}`;
  const known = offsets.get(symbol);
  if (known !== undefined) return known;
  const found = lookUp(symbol, "field", () => kernelBtf().field(struct, field));
  if (found.bitField) throw new NoKernelTypeError(symbol, "addressable field");
  offsets.set(symbol, found.offset);
  return found.offset;
}

/** The BTF number of a kernel function, for attaching. @throws NoKernelTypeError; KernelError on a kernel without BTF */
export function kernelFunctionId(name: string): number {
  return lookUp(name, "function", () => kernelBtf().function(name));
}

/** Whether the kernel has a structure. @throws KernelError on a kernel without BTF */
export function kernelHasStruct(name: string): boolean {
  return kernelBtf().find("struct", name) !== undefined;
}

function lookUp<T>(symbol: string, kind: string, find: () => T): T {
  try {
    return find();
  } catch (error) {
    if (error instanceof BtfError) throw new NoKernelTypeError(symbol, kind, { cause: error });
    throw error;
  }
}
