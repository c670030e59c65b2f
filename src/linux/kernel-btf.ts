/** The types of the running kernel (/sys/kernel/btf/vmlinux): numbers of functions, offsets of structure fields. */
import { readFileSync } from "node:fs";
import { release } from "node:os";
import { indexBtf, type BtfIndex } from "./btf-index.ts";
import { explainRefusal, KernelError } from "./kernel-error.ts";
import { errnos } from "./ffi.ts";

const path = "/sys/kernel/btf/vmlinux";

let kernel: BtfIndex | undefined;

/** The index of the kernel's types, read once. @throws KernelError on a kernel without BTF */
export function kernelBtf(): BtfIndex {
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
  return (kernel = indexBtf(bytes));
}

/** A structure, field or function that the running kernel does not have. */
export class NoKernelTypeError extends Error {
  /** E.g. `tcp_sock.snd_cwnd`. */
  readonly symbol: string;
  constructor(symbol: string, kind: string) {
    super(`Linux ${release()} has no ${kind} ${symbol}`);
    this.name = "NoKernelTypeError";
    this.symbol = symbol;
  }
}

/**
 * The byte offset of a field, which may be a path (`skc_v6_daddr.in6_u.u6_addr8`); anonymous members are looked through.
 * @throws NoKernelTypeError; KernelError on a kernel without BTF
 */
export function kernelFieldOffset(struct: string, field: string): number {
  const offset = kernelBtf().fieldOffset(struct, field);
  if (offset === undefined) throw new NoKernelTypeError(`${struct}.${field}`, "field");
  return offset;
}

/** The BTF number of a kernel function, for attaching. @throws NoKernelTypeError; KernelError on a kernel without BTF */
export function kernelFunctionId(name: string): number {
  const id = kernelBtf().functionId(name);
  if (id === undefined) throw new NoKernelTypeError(name, "function");
  return id;
}
