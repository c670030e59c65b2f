/** Congestion controls by name: which there are, a namespace's default, what a socket uses. `diag.ts` tells of subflows. */
import { readFileSync, writeFileSync } from "node:fs";
import type net from "node:net";
import { errnos } from "./ffi.ts";
import { explainRefusal } from "./kernel-error.ts";
import { withNetns, type NetworkNamespace } from "./netns.ts";
import { getOption } from "./socket-calls.ts";
import { descriptorOf } from "./sockets.ts";

const directory = "/proc/sys/net/ipv4";
const IPPROTO_TCP = 6;
const TCP_CONGESTION = 13;
/** TCP_CA_NAME_MAX, with the NUL. */
const NAME_SIZE = 16;

/** What sockets of a namespace can be given. Modules that are not loaded yet are not among them. */
export function availableCongestionControls(netns?: NetworkNamespace): string[] {
  return withNetns(netns, () => readFileSync(`${directory}/tcp_available_congestion_control`, "utf8"))
    .split(/\s+/)
    .filter((name) => name !== "");
}

/** What new sockets of a namespace get. */
export function defaultCongestionControl(netns?: NetworkNamespace): string {
  return withNetns(netns, () => readFileSync(`${directory}/tcp_congestion_control`, "utf8")).trim();
}

/**
 * Chooses what new sockets of a namespace get. It stays in use there even after its name is gone, until another is chosen.
 * @throws KernelError for one that is not available, or not to namespaces other than the first
 */
export function setDefaultCongestionControl(name: string, netns?: NetworkNamespace): void {
  try {
    withNetns(netns, () => writeFileSync(`${directory}/tcp_congestion_control`, name));
  } catch (error) {
    const errno = errnos[(error as NodeJS.ErrnoException).code ?? ""];
    if (errno === undefined) throw error;
    throw explainRefusal(`make ${name} the default congestion control`, errno, {
      capabilities: ["CAP_NET_ADMIN"],
      reasons: {
        ENOENT: `there is no congestion control ${name}; available are ${availableCongestionControls(netns).join(", ")}`,
        EPERM: `${name} is not for network namespaces other than the first (TCP_CONG_NON_RESTRICTED)`,
      },
    });
  }
}

/** What a connected TCP socket uses; of an MPTCP socket its first subflow. @throws SystemCallError */
export function congestionControlOf(socket: net.Socket): string {
  const bytes = getOption(descriptorOf(socket), IPPROTO_TCP, TCP_CONGESTION, new Uint8Array(NAME_SIZE));
  return new TextDecoder().decode(bytes).replace(/\0.*$/s, "");
}
