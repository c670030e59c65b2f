/** Locks on directories (flock(2)): held by a descriptor, so that they end with the process, however it ends. */
import { closeSync, constants, fstatSync, openSync, statSync } from "node:fs";
import { declare, errno, errnos, SystemCallError } from "./ffi.ts";

const flock = declare("flock", "int", ["int", "int"]);

const LOCK_EX = 2;
const LOCK_NB = 4;

/** A directory that this process has locked. */
export interface DirectoryLock extends Disposable {
  release(): void;
}

const pause = new Int32Array(new SharedArrayBuffer(4));
const RETRY_MS = 2;

/**
 * Locks the directory at `path`, waiting up to `patienceMs` for others to let go; undefined when they do not. The directory
 * that is locked is the one that is there in the end, also when another one took its place meanwhile.
 * @throws SystemCallError; Error with code ENOENT when there is none
 */
export function lockDirectory(path: string, patienceMs: number): DirectoryLock | undefined {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
    if (Number(flock(fd, LOCK_EX | LOCK_NB)) === 0) {
      if (statSync(path, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino) {
        const release = () => closeSync(fd);
        return { release, [Symbol.dispose]: release };
      }
      closeSync(fd);
      continue;
    }
    const code = errno();
    closeSync(fd);
    if (code !== errnos["EWOULDBLOCK"] && code !== errnos["EINTR"]) throw new SystemCallError("flock", code, path);
    if (performance.now() >= deadline) return undefined;
    Atomics.wait(pause, 0, 0, RETRY_MS);
  }
}
