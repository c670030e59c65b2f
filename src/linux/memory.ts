/** Memory that the kernel shares with this process through a descriptor. */
import { readFileSync } from "node:fs";
import { declare, errno, view } from "./ffi.ts";
import { explainRefusal } from "./kernel-error.ts";

const mmap = declare("mmap", "int64", ["int64", "size_t", "int", "int", "int", "int64"]);
const munmap = declare("munmap", "int", ["int64", "size_t"]);
const getpagesize = declare("getpagesize", "int", []);

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;

export const pageSize: number = Number(getpagesize());

export interface Mapping {
  /** @throws Error after `unmap()`; a view taken before then must not be touched, the memory behind it is gone. */
  readonly buffer: ArrayBuffer;
  /** Safe to call twice. */
  unmap(): void;
}

/** Maps `length` bytes (whole pages) of a descriptor from byte `offset` on. @throws KernelError */
export function mapMemory(fd: number, offset: number, length: number, writable: boolean, what: string): Mapping {
  const at = mmap(0, length, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, offset);
  if (Number(at) === -1) throw explainRefusal(`map ${what} into memory`, errno());
  let buffer: ArrayBuffer | undefined = view(BigInt(at), length);
  return {
    get buffer() {
      if (!buffer) throw new Error(`Cannot use the memory of ${what}: it is unmapped`);
      return buffer;
    },
    unmap() {
      if (!buffer) return;
      buffer = undefined;
      munmap(at, length);
    },
  };
}

/** `length` rounded up to whole pages. */
export function wholePages(length: number): number {
  return Math.ceil(length / pageSize) * pageSize;
}

/** The number of CPUs in a list such as `0-3,8`. */
export function countCpus(list: string): number {
  let count = 0;
  for (const range of list.trim().split(",")) {
    const [first, last] = range.split("-").map(Number);
    count += (last ?? first) - first + 1;
  }
  return count;
}

let possible: number | undefined;

/** How many CPUs may ever be there: the number of values a per-CPU map keeps for each key. */
export function possibleCpus(): number {
  return (possible ??= countCpus(readFileSync("/sys/devices/system/cpu/possible", "utf8")));
}
