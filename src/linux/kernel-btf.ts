/** The types of the running kernel (/sys/kernel/btf/vmlinux): numbers of functions, offsets of structure fields. */
import { readFileSync } from "node:fs";
import { release } from "node:os";
import { Btf, BtfError, type BtfField } from "../bpf/btf/index.ts";
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

/** A structure, field or function that the running kernel does not have, or has otherwise. */
export class NoKernelTypeError extends Error {
  /** E.g. `tcp_sock.snd_cwnd`. */
  readonly symbol: string;
  constructor(symbol: string, reason: string, options?: ErrorOptions) {
    super(`Linux ${release()} ${reason}`, options);
    this.name = "NoKernelTypeError";
    this.symbol = symbol;
  }
}

const fields = new Map<string, BtfField>();

/**
 * The byte offset of a field, which may be a path (`skc_v6_daddr.in6_u.u6_addr8[4]`); anonymous members are looked through.
 * Of a bit field it is that of the byte in which it begins.
 * @param size the bytes it must have
 * @throws NoKernelTypeError; KernelError on a kernel without BTF
 */
export function kernelFieldOffset(struct: string, field: string, size?: number): number {
  const symbol = `${struct}.${field}`;
  const { offset, size: bytes, bitField } = kernelField(symbol, struct, field);
  if (size !== undefined && (bitField || bytes !== size)) {
    const found = bitField ? "it is a bit field" : `it has ${bytes} bytes, not ${size}`;
    throw new NoKernelTypeError(symbol, `has another ${symbol}: ${found}`);
  }
  return offset;
}

/**
 * Where in the byte at its offset a bit field begins, and how many bits it has: in all of that byte where it is a plain one.
 * @throws NoKernelTypeError, also when it does not end in that byte; KernelError on a kernel without BTF
 */
export function kernelBitField(struct: string, field: string): { readonly shift: number; readonly bits: number } {
  const symbol = `${struct}.${field}`;
  const { size, bitField = { shift: 0, bits: 8 * size } } = kernelField(symbol, struct, field);
  const { shift, bits } = bitField;
  if (shift + bits > 8)
    throw new NoKernelTypeError(symbol, `has another ${symbol}: its ${bits} bits do not lie in one byte`);
  return bitField;
}

function kernelField(symbol: string, struct: string, field: string): BtfField {
  let found = fields.get(symbol);
  if (!found) fields.set(symbol, (found = lookUp(symbol, "field", () => kernelBtf().field(struct, field))));
  return found;
}

/** The BTF number of a structure. @throws NoKernelTypeError; KernelError on a kernel without BTF */
export function kernelStructId(name: string): number {
  return lookUp(name, "struct", () => kernelBtf().struct(name));
}

/** The BTF number of a kernel function, for attaching and for calls. @throws NoKernelTypeError; KernelError on a kernel without BTF */
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
    if (error instanceof BtfError) throw new NoKernelTypeError(symbol, `has no ${kind} ${symbol}`, { cause: error });
    throw error;
  }
}
