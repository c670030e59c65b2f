/** The base of maps, programs and links: a descriptor that is closed once, and a pin in the BPF file system. */
import { closeSync } from "node:fs";
import { bpf, tryBpf } from "./bpf-syscall.ts";
import { errnos } from "./ffi.ts";
import { explainRefusal, type Requirements } from "./kernel-error.ts";

/** Owns a descriptor. All descriptors of bpf(2) are close-on-exec. */
export class KernelObject implements Disposable {
  #fd: number;
  /** For messages, e.g. `map counters`. */
  readonly label: string;

  constructor(fd: number, label: string) {
    this.#fd = fd;
    this.label = label;
  }

  /** @throws Error after `close()`: the number may already be another file's. */
  get fd(): number {
    if (this.#fd < 0) throw new Error(`Cannot use ${this.label}: it is closed`);
    return this.#fd;
  }

  get closed(): boolean {
    return this.#fd < 0;
  }

  /** Gives up the descriptor; the kernel keeps the object as long as a pin, a link or another descriptor holds it. */
  close(): void {
    if (this.#fd < 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    closeSync(fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Makes the object reachable as a file of the BPF file system, so that it outlives this process. */
  pin(path: string): void {
    bpf("objectPin", { pathname: path, fd: this.fd }, `pin ${this.label} at ${path}`, pinRequirements);
  }
}

const pinRequirements: Requirements = {
  reasons: {
    EEXIST: "something is pinned there already",
    EPERM: "the path is not in a BPF file system, or CAP_BPF is missing",
    EINVAL: "the path is not in a BPF file system",
    ENOENT: "its directory does not exist",
  },
};

/** Opens a pinned object of any kind; the descriptor is the caller's. @throws KernelError */
export function openPinned(path: string, what: string): number {
  return bpf("objectGet", { pathname: path }, `open the ${what} pinned at ${path}`, {
    reasons: { ENOENT: "nothing is pinned there", EACCES: "the pin does not permit it" },
  }).result;
}

const idCommands = { map: "mapGetFdById", program: "progGetFdById", link: "linkGetFdById" } as const;

/** Opens an object by the number the kernel gave it; needs CAP_SYS_ADMIN. @throws KernelError */
export function openById(kind: keyof typeof idCommands, id: number): number {
  return bpf(idCommands[kind], { id }, `open ${kind} number ${id}`, {
    capabilities: ["CAP_SYS_ADMIN"],
    reasons: { ENOENT: `there is no ${kind} with that number` },
  }).result;
}

const nextIdCommands = { map: "mapGetNextId", program: "progGetNextId", link: "linkGetNextId" } as const;

/** The numbers of all objects of a kind on this host, whoever made them; needs CAP_SYS_ADMIN. @throws KernelError */
export function* objectIds(kind: keyof typeof nextIdCommands): Generator<number> {
  for (let id = 0; ;) {
    const outcome = tryBpf(nextIdCommands[kind], { id });
    if (outcome.errno === errnos["ENOENT"]) return;
    if (outcome.result < 0)
      throw explainRefusal(`list all ${kind}s`, outcome.errno, { capabilities: ["CAP_SYS_ADMIN"] });
    id = outcome.read("nextId");
    yield id;
  }
}
