/** Errors of requests to the kernel: what was asked, what it answered, what is missing and what to do. */
import { release } from "node:os";
import { missingCapabilities, type Capability } from "./capabilities.ts";
import { errnoName, errnos } from "./ffi.ts";

/** Something a kernel has or lacks, found by trying. */
export interface KernelFeature {
  /** E.g. `tcx links`. */
  readonly name: string;
  /** What provides it, e.g. `Linux >= 6.6, CONFIG_NET_XGRESS`. */
  readonly needs: string;
  present(): boolean;
}

export interface KernelErrorDetails {
  /** Completes "Cannot …", e.g. `attach program x to eth0`. */
  readonly action: string;
  readonly errno: number;
  readonly reason: string;
  /** A capability, a kernel version or a configuration option. */
  readonly missing?: string | undefined;
  /** What to do about it, a full imperative sentence. */
  readonly remedy?: string | undefined;
}

/** A request that the kernel refused. */
export class KernelError extends Error {
  readonly action: string;
  readonly errno: number;
  /** E.g. `EPERM`. */
  readonly code: string;
  readonly missing: string | undefined;
  readonly remedy: string | undefined;
  constructor(details: KernelErrorDetails, options?: ErrorOptions) {
    const code = nameOf(details.errno);
    super(
      `Cannot ${details.action}: ${details.reason} (${code})${details.remedy ? `. ${details.remedy}` : ""}`,
      options,
    );
    this.name = "KernelError";
    this.action = details.action;
    this.errno = details.errno;
    this.code = code;
    this.missing = details.missing;
    this.remedy = details.remedy;
  }
}

/** ENOTSUPP is the kernel's own and has no place in the C library's table. */
export const ENOTSUPP = 524;

function nameOf(errno: number): string {
  return errno === ENOTSUPP ? "ENOTSUPP" : errnoName(errno);
}

/** What a request depends on; consulted only after it failed. */
export interface Requirements {
  readonly capabilities?: readonly Capability[];
  readonly features?: readonly KernelFeature[];
  /** Words for an errno that means something particular to this request. */
  readonly reasons?: Readonly<Record<string, string>>;
}

const commonReasons: Readonly<Record<string, string>> = {
  EPERM: "the kernel does not permit it",
  EACCES: "the kernel does not permit it",
  EINVAL: "the kernel does not accept these arguments",
  ENOENT: "there is no such object",
  ENODEV: "there is no such device",
  EEXIST: "it exists already",
  EBUSY: "another object holds the place",
  ENOMEM: "not enough memory",
  E2BIG: "too big, or the limit of entries is reached",
  ENOSPC: "no space left",
  ENOSYS: "the kernel lacks the system call",
  EOPNOTSUPP: "the kernel does not support it",
  ENOTSUPP: "the kernel does not support it",
  EBADF: "a descriptor was closed already",
  EMFILE: "too many open descriptors",
};

/** Describes a refused request: probes what it depends on, so that the error names the cause and not just the errno. */
export function explainRefusal(action: string, errno: number, requirements: Requirements = {}): KernelError {
  const code = nameOf(errno);
  const lacking = missingCapabilities(requirements.capabilities ?? []);
  if ((code === "EPERM" || code === "EACCES") && lacking.length > 0) {
    const names = lacking.join(" and ");
    return new KernelError({
      action,
      errno,
      reason: `it needs ${names}, which this process lacks`,
      missing: names,
      remedy: "Run it as root or give the process the capability",
    });
  }
  if (errno === errnos["ENOSYS"]) {
    return new KernelError({
      action,
      errno,
      reason: "this kernel has no bpf(2)",
      missing: "CONFIG_BPF_SYSCALL",
      remedy: "Use a kernel built with CONFIG_BPF_SYSCALL=y",
    });
  }
  // A particular reason says more than a probe; a probe says more than the errno's common words.
  const particular = requirements.reasons?.[code];
  if (particular === undefined) {
    for (const feature of requirements.features ?? []) {
      if (feature.present()) continue;
      return new KernelError({
        action,
        errno,
        reason: `${feature.name} is not supported by Linux ${release()} here`,
        missing: feature.needs,
        remedy: `It needs ${feature.needs}`,
      });
    }
  }
  return new KernelError({ action, errno, reason: particular ?? commonReasons[code] ?? "the kernel refused" });
}
