/** What the path manager refused, and why, in words. */
import { existsSync, readFileSync } from "node:fs";
import { missingCapabilities } from "./capabilities.ts";
import { SystemCallError } from "./ffi.ts";
import { KernelError } from "./kernel-error.ts";
import { NetlinkError } from "./netlink.ts";
import { withNetns, type NetworkNamespace } from "./netns.ts";
import { hasErrno } from "./socket-calls.ts";

/**
 * Why a command was refused:
 * `permission` this process may not; `unsupported` the kernel is too old; `closed` there is no such connection (any more);
 * `kernel` the kernel's own path manager is in charge of the connection; `not-local` the local end is no address of this host,
 * or its interface is none; `unreachable` no route, or an address family that is not the connection's; `in-use` the address or
 * id is taken; `not-found` no such subflow, address or endpoint; `limit` more than the kernel allows; `invalid` whatever else.
 */
export type RefusalKind =
  | "permission"
  | "unsupported"
  | "closed"
  | "kernel"
  | "not-local"
  | "unreachable"
  | "in-use"
  | "not-found"
  | "limit"
  | "invalid";

/** A command that the path manager refused. */
export class PathManagerError extends KernelError {
  readonly kind: RefusalKind;
  /** The kernel's own words, where it gave any. */
  readonly kernelMessage: string | undefined;
  constructor(
    details: { kind: RefusalKind; action: string; errno: number; reason: string; missing?: string; remedy?: string },
    options?: ErrorOptions,
  ) {
    super(details, options);
    this.name = "PathManagerError";
    this.kind = details.kind;
    this.kernelMessage = options?.cause instanceof NetlinkError ? options.cause.kernelMessage : undefined;
  }
}

/** Who manages the paths of connections that are opened from now on: `kernel`, `userspace`, or another one by its name. */
export function activePathManager(netns?: NetworkNamespace): string {
  return withNetns(netns, () => {
    const named = "/proc/sys/net/mptcp/path_manager";
    if (existsSync(named)) return readFileSync(named, "utf8").trim();
    // Before Linux 6.15.
    const numbered = "/proc/sys/net/mptcp/pm_type";
    return existsSync(numbered) && readFileSync(numbered, "utf8").trim() === "1" ? "userspace" : "kernel";
  });
}

type Explanation = {
  readonly kind: RefusalKind;
  readonly reason: string;
  readonly missing?: string;
  readonly remedy?: string;
};

function kernelInCharge(netns: NetworkNamespace | undefined): Explanation {
  const active = activePathManager(netns);
  const [name, value] = existsSync("/proc/sys/net/mptcp/path_manager")
    ? ["net.mptcp.path_manager", "userspace"]
    : ["net.mptcp.pm_type", "1"];
  return {
    kind: "kernel",
    reason: "the kernel's own path manager is in charge of the connection",
    missing: `${name}=${value}`,
    remedy:
      active === "userspace"
        ? `It began before sysctl ${name} was ${value}: open it anew`
        : `Set sysctl ${name}=${value} before the connection is opened`,
  };
}

const noPermission = (): Explanation => {
  const lacking = missingCapabilities(["CAP_NET_ADMIN"]);
  return lacking.length > 0
    ? {
        kind: "permission",
        reason: "it needs CAP_NET_ADMIN, which this process lacks",
        missing: "CAP_NET_ADMIN",
        remedy: "Run it as root or give the process the capability",
      }
    : {
        kind: "permission",
        reason: "the network namespace belongs to another user namespace",
        remedy: "Run it as root of the namespace's owner",
      };
};

/** By what the kernel says; where it says nothing, by the number. The first that applies is taken. */
const bySaying: readonly (readonly [RegExp, (netns?: NetworkNamespace) => Explanation])[] = [
  [
    /invalid token/,
    () => ({
      kind: "closed",
      reason: "there is no connection with this token in the network namespace; it may have closed",
    }),
  ],
  [/userspace PM not selected/, kernelInCharge],
  [
    /did not match address and id/,
    () => ({
      kind: "in-use",
      reason: "the connection knows the address under another id, or another address under this id",
      remedy:
        "Give address and id as they were given first; a port makes it another address, which takes an id of its own",
    }),
  ],
  [
    /families mismatch/,
    () => ({
      kind: "unreachable",
      reason:
        "the ends are of different address families, or of one that the connection's socket does not take: an IPv4 socket " +
        "takes no IPv6 subflows",
    }),
  ],
  [
    /too many addresses or duplicate one: -17/,
    () => ({ kind: "in-use", reason: "there is an endpoint with this address or id already" }),
  ],
  [
    /too many addresses/,
    () => ({ kind: "limit", reason: "there are as many endpoints as the kernel takes", remedy: "Remove one first" }),
  ],
  [/limit greater than maximum/, () => ({ kind: "limit", reason: "it is above what the kernel takes" })],
  [/not found/, () => ({ kind: "not-found", reason: "there is none with these addresses and ports, or this id" })],
];

const byErrno: Readonly<Record<string, Explanation>> = {
  EADDRNOTAVAIL: {
    kind: "not-local",
    reason: "the local address is none of this host in the network namespace",
    remedy: "ip address lists them",
  },
  ENODEV: { kind: "not-local", reason: "there is no such interface in the network namespace" },
  ENETUNREACH: { kind: "unreachable", reason: "no route leads from the local address to the remote one" },
  EHOSTUNREACH: { kind: "unreachable", reason: "no route leads from the local address to the remote one" },
  EADDRINUSE: { kind: "in-use", reason: "the local address and port are in use" },
  EEXIST: { kind: "in-use", reason: "it exists already" },
  ESRCH: { kind: "not-found", reason: "the connection has no such subflow" },
  ENOENT: { kind: "not-found", reason: "there is no such object" },
  EOPNOTSUPP: { kind: "unsupported", reason: "the kernel does not know the command" },
  ENOTCONN: {
    kind: "closed",
    reason: "the connection is not established, is closing, or its peer takes no more subflows",
  },
  EINVAL: { kind: "invalid", reason: "the kernel does not accept these arguments" },
};

/** @param action completes "Cannot …" */
export function explainPathManager(action: string, error: SystemCallError, netns?: NetworkNamespace): PathManagerError {
  const said = error instanceof NetlinkError ? error.kernelMessage : undefined;
  const saying = said === undefined ? undefined : bySaying.find(([pattern]) => pattern.test(said));
  const found = hasErrno(error, "EPERM", "EACCES")
    ? noPermission()
    : (saying?.[1](netns) ?? byErrno[error.code] ?? { kind: "invalid", reason: "the kernel refused" });
  // Its words say more than an errno that stands for anything.
  const reason = found.kind === "invalid" && said !== undefined ? `the kernel says "${said}"` : found.reason;
  const detail =
    found.kind === "limit" && said !== undefined && !saying?.[0].source.startsWith("too") ? ` (${said})` : "";
  return new PathManagerError({ ...found, reason: reason + detail, action, errno: error.errno }, { cause: error });
}
