/**
 * The only module that knows koffi: C functions of libc, buffer addresses, mapped memory and readiness of descriptors, in
 * terms that any other FFI could offer. Everything else in `linux/` builds on these.
 */
import koffi from "koffi";

const libc = koffi.load(null);

/** Addresses are BigInt; 0n is NULL. */
export type Address = bigint;
/** An argument: numbers for int and long, Buffers or addresses for pointers, text for `str`. */
export type Argument = number | bigint | string | Uint8Array | null;

/** Errors of system calls: the function, the errno and its symbolic name. */
export class SystemCallError extends Error {
  readonly call: string;
  readonly errno: number;
  /** E.g. `EPERM`. */
  readonly code: string;
  constructor(call: string, errno: number, detail?: string) {
    const code = errnoName(errno);
    super(`${call} failed: ${code}${detail ? ` (${detail})` : ""}`);
    this.name = "SystemCallError";
    this.call = call;
    this.errno = errno;
    this.code = code;
  }
}

const errnoByNumber = new Map(Object.entries(koffi.os.errno).map(([name, number]) => [number, name]));

/** The symbolic name of an errno, or `errno 123`. */
export function errnoName(errno: number): string {
  return errnoByNumber.get(errno) ?? `errno ${errno}`;
}

/** The number of a symbolic errno. */
export const errnos: Readonly<Record<string, number>> = koffi.os.errno;

export type Signature = { readonly returns: string; readonly args: readonly string[] };

/** Declares a libc function: `declare("setns", "int", ["int", "int"])`. The result is the raw return value. */
export function declare(
  name: string,
  returns: string,
  args: readonly string[],
): (...args: Argument[]) => number | bigint {
  return libc.func(name, returns, [...args]) as (...args: Argument[]) => number | bigint;
}

/** The errno of the last call on this thread. */
export function errno(): number {
  return koffi.errno();
}

/** Calls `fn` and throws a `SystemCallError` when it returns -1. */
export function check(name: string, result: number | bigint, detail?: string): number {
  if (Number(result) === -1) throw new SystemCallError(name, koffi.errno(), detail);
  return Number(result);
}

/** The address of a buffer's first byte. Keep the buffer alive as long as the address is in use. */
export function address(buffer: Uint8Array): Address {
  return koffi.address(buffer);
}

/** A view of memory that is not JavaScript's (a mapping). Touching it after it was unmapped is a crash: drop it first. */
export function view(at: Address, length: number): ArrayBuffer {
  return koffi.view(at, length);
}

const polls = new Set<{ close(): void }>();

/** Calls `ready` on the event loop whenever `fd` is readable (or writable). Returns a function that stops it. */
export function watch(fd: number, ready: () => void, options: { writable?: boolean } = {}): () => void {
  const node = (koffi as unknown as { node: { poll(...args: unknown[]): { close(): void } } }).node;
  const handle = node.poll(fd, options.writable ? { writable: true } : { readable: true }, () => {
    try {
      ready();
    } catch (error) {
      // A throw inside a poll callback would surface from the next unrelated foreign call.
      setImmediate(() => {
        throw error;
      });
    }
  });
  // A handle that nothing refers to is collected, and its callbacks stop.
  polls.add(handle);
  return () => {
    if (polls.delete(handle)) handle.close();
  };
}
