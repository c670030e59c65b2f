/** The BPF file system: where it is, mounting it where it is not, and what happens to pins in it. */
import { mkdirSync, renameSync } from "node:fs";
import { check, declare, errno } from "./ffi.ts";
import { explainRefusal } from "./kernel-error.ts";
import { mounts } from "./mounts.ts";

const mount = declare("mount", "int", ["str", "str", "str", "unsigned long", "void *"]);

const renameat2 = declare("renameat2", "int", ["int", "str", "int", "str", "unsigned int"]);

/** Where every tool expects it. */
const usual = "/sys/fs/bpf";

/** The path of the mounted BPF file system, the usual one if there are several. */
export function findBpffs(): string | undefined {
  const found = mounts().filter(({ type, writable }) => type === "bpf" && writable);
  return (found.find(({ path }) => path === usual) ?? found[0])?.path;
}

/** The path of the BPF file system; mounts it if it is not. @throws KernelError */
export function ensureBpffs(): string {
  const found = findBpffs();
  if (found !== undefined) return found;
  if (Number(mount("bpf", usual, "bpf", 0, null)) === 0) return usual;
  throw explainRefusal(`mount the BPF file system at ${usual}`, errno(), {
    capabilities: ["CAP_SYS_ADMIN"],
    reasons: {
      ENOENT: `${usual} does not exist: is sysfs mounted, and CONFIG_BPF_SYSCALL set`,
      ENODEV: "the kernel has no BPF file system (CONFIG_BPF_SYSCALL)",
    },
  });
}

/** Makes a directory for pins, `name` below the BPF file system; it may exist. Returns its path. */
export function ensurePinDirectory(name: string): string {
  const path = `${ensureBpffs()}/${name}`;
  mkdirSync(path, { recursive: true, mode: 0o700 });
  return path;
}

/** Moves a pin; what was pinned at the new path goes in the same moment. */
export function renamePin(from: string, to: string): void {
  renameSync(from, to);
}

const AT_FDCWD = -100;
const RENAME_EXCHANGE = 2;

/** Puts two directories of pins in each other's place, in one step. @throws SystemCallError */
export function exchangePins(one: string, other: string): void {
  check("renameat2", renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE), `${one}, ${other}`);
}
