/** Waiting until no program runs any more that was running a moment ago. */
import { declare, errno, errnos, SystemCallError } from "./ffi.ts";

const numberOfMembarrier: Readonly<Record<string, number>> = { x64: 324, arm64: 283 };
const syscall = declare("syscall", "long", ["long", "int", "unsigned int", "int"]);

const MEMBARRIER_CMD_GLOBAL = 1;
/** Longer than any program runs that the verifier admits: a million instructions, in interrupts. */
const LONGEST_RUN_MS = 100;

const pause = new Int32Array(new SharedArrayBuffer(4));

/**
 * Returns when every run of a packet or socket program that had begun has ended; takes some 10 ms. Kernels with CPUs that
 * have no tick (nohz_full) cannot tell: there it waits for longer than a run can take.
 * @throws SystemCallError
 */
export function waitForPrograms(): void {
  if (Number(syscall(numberOfMembarrier[process.arch] ?? -1, MEMBARRIER_CMD_GLOBAL, 0, 0)) === 0) return;
  const code = errno();
  if (code !== errnos["EINVAL"] && code !== errnos["ENOSYS"]) throw new SystemCallError("membarrier", code);
  Atomics.wait(pause, 0, 0, LONGEST_RUN_MS);
}
