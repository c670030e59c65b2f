/**
 * Network namespaces: named ones under /run/netns (the names `ip netns` knows), and the window in which code of this
 * thread runs inside one. A namespace belongs to a thread, so whatever happens in a window must be synchronous: sockets made
 * by foreign calls, files of /proc/sys/net, spawned processes. Node's own `net.connect` and `listen({ host })` act on a
 * later tick and would land in the home namespace.
 */
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { check, declare } from "./ffi.ts";
import { hasErrno } from "./socket-calls.ts";

const setns = declare("setns", "int", ["int", "int"]);
const unshare = declare("unshare", "int", ["int"]);
const mount = declare("mount", "int", ["void *", "void *", "void *", "unsigned long", "void *"]);
const umount2 = declare("umount2", "int", ["void *", "int"]);

const CLONE_NEWNET = 0x40000000;
const MS_BIND = 4096;
const MS_REC = 16384;
const MS_SHARED = 1 << 20;
const MNT_DETACH = 2;

const directory = "/run/netns";
const current = "/proc/thread-self/ns/net";

/** A namespace by its name under /run/netns, or by an absolute path such as /proc/1/ns/net. */
export type NetworkNamespace = string;

/** The path of the file that stands for a namespace. */
export function netnsPath(namespace: NetworkNamespace): string {
  return namespace.startsWith("/") ? namespace : `${directory}/${namespace}`;
}

/** Opens a namespace; the descriptor keeps it alive. @throws Error when there is no such namespace. */
export function openNetns(namespace: NetworkNamespace): number {
  try {
    return openSync(netnsPath(namespace), "r");
  } catch (cause) {
    const reason = existsSync(netnsPath(namespace)) ? (cause as Error).message : "no such namespace";
    throw new Error(`Cannot open network namespace ${namespace}: ${reason}`, { cause });
  }
}

/** The names under /run/netns. */
export function listNetns(): string[] {
  return existsSync(directory) ? readdirSync(directory) : [];
}

/**
 * Runs `fn` inside a namespace and returns to the previous one, whatever happens. Without a namespace it just runs.
 * @throws TypeError when `fn` returns a promise: what it does after the window would happen at home.
 */
export function withNetns<T>(namespace: NetworkNamespace | undefined, fn: () => T): T {
  if (namespace === undefined) return fn();
  const inside = openNetns(namespace);
  let home: number;
  try {
    home = openSync(current, "r");
  } catch (error) {
    closeSync(inside);
    throw error;
  }
  try {
    check("setns", setns(inside, CLONE_NEWNET), namespace);
    let result: T;
    try {
      result = fn();
    } finally {
      returnTo(home);
    }
    if (isThenable(result)) {
      throw new TypeError("Cannot run an asynchronous function in a network namespace: the window is synchronous");
    }
    return result;
  } finally {
    closeSync(inside);
    closeSync(home);
  }
}

/**
 * Makes a namespace known as `name` to this process and to `ip netns`, with its loopback down as the kernel makes it.
 * @throws Error when the name is taken; SystemCallError without the capability (CAP_SYS_ADMIN).
 */
export function createNetns(name: string): void {
  if (!/^[\w.-]{1,200}$/.test(name)) throw new RangeError(`Cannot create network namespace ${name}: not a usable name`);
  makeDirectoryShared();
  const path = netnsPath(name);
  try {
    writeFileSync(path, "", { flag: "wx", mode: 0o444 });
  } catch (cause) {
    throw new Error(`Cannot create network namespace ${name}: the name is taken or ${directory} not writable`, {
      cause,
    });
  }
  try {
    const home = openSync(current, "r");
    try {
      check("unshare", unshare(CLONE_NEWNET), "new network namespace");
      try {
        check("mount", mountCall(current, path, MS_BIND), path);
      } finally {
        returnTo(home);
      }
    } finally {
      closeSync(home);
    }
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  }
}

/** Removes the name; the namespace itself goes when its last process and socket are gone. Unknown names are ignored. */
export function deleteNetns(name: string): void {
  const path = netnsPath(name);
  if (!existsSync(path)) return;
  try {
    check("umount2", umount2(cString(path), MNT_DETACH), path);
  } catch (error) {
    // EINVAL: the file is there but nothing is mounted on it, as after a crash between the two steps of creation.
    if (!hasErrno(error, "EINVAL")) throw error;
  }
  rmSync(path, { force: true });
}

function returnTo(home: number): void {
  // A thread stuck in a foreign namespace would do everything else in the wrong place, silently.
  check("setns", setns(home, CLONE_NEWNET), "returning to the home network namespace");
}

const cString = (text: string) => new TextEncoder().encode(`${text}\0`);

function mountCall(source: string, target: string, flags: number): number {
  return Number(mount(cString(source), cString(target), cString("none"), flags, null));
}

/** As `ip netns` does: a mount of its own, shared, so that names appear in other mount namespaces and can be removed. */
function makeDirectoryShared(): void {
  mkdirSync(directory, { recursive: true });
  if (mountCall("none", directory, MS_SHARED | MS_REC) === 0) return;
  check("mount", mountCall(directory, directory, MS_BIND | MS_REC), directory);
  check("mount", mountCall("none", directory, MS_SHARED | MS_REC), directory);
}

/** Every namespace that has a name or a process, once each, the current one first. */
function everyNetns(): NetworkNamespace[] {
  const { dev } = statSync(current);
  const processes = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  const candidates = [current, ...listNetns().map(netnsPath), ...processes.map((pid) => `/proc/${pid}/ns/net`)];
  const found = new Map<number, string>();
  for (const path of candidates) {
    const stat = statUnlessGone(path);
    // A file under /run/netns on which nothing is mounted is no namespace.
    if (stat?.dev === dev && !found.has(stat.ino)) found.set(stat.ino, path);
  }
  return [...found.values()];
}

function statUnlessGone(path: string) {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}

/**
 * Runs `fn` inside every namespace that has a name or a process, one after the other; those that vanish meanwhile are left
 * out. Synchronous.
 */
export function inEveryNetns<T>(fn: () => T): T[] {
  return everyNetns().flatMap((namespace) => {
    let entered = false;
    try {
      return [
        withNetns(namespace, () => {
          entered = true;
          return fn();
        }),
      ];
    } catch (error) {
      if (entered || statUnlessGone(namespace)) throw error;
      return [];
    }
  });
}

/** The identity of a namespace, equal for two names of the same one. */
export function netnsInode(namespace: NetworkNamespace = current): number {
  return statSync(netnsPath(namespace)).ino;
}

function isThenable(value: unknown): boolean {
  return typeof (value as { then?: unknown } | null | undefined)?.then === "function";
}
