/** Interfaces of the current network namespace by name, and their addresses. */
import { readFileSync } from "node:fs";
import { declare } from "./ffi.ts";
import { decodeAttributes, NetlinkSocket } from "./netlink.ts";
import { addressText } from "./sockaddr.ts";

const if_nametoindex = declare("if_nametoindex", "unsigned int", ["str"]);

/** An interface by its name, or by its index. */
export type InterfaceReference = string | number;

/** An interface that the current network namespace does not have. */
export class NoSuchInterfaceError extends Error {
  readonly interface: string;
  readonly existing: readonly string[];
  constructor(name: string, existing: readonly string[]) {
    super(`There is no interface ${name} in this network namespace; there are ${existing.join(", ")}`);
    this.name = "NoSuchInterfaceError";
    this.interface = name;
    this.existing = existing;
  }
}

/** The names of the interfaces of the current network namespace. */
export const interfaceNames = (): string[] => [...deviceCounters().keys()];

export type Traffic = { readonly bytes: number; readonly packets: number };
export type DeviceCounters = { readonly received: Traffic; readonly sent: Traffic };

/** What each interface of the current network namespace has carried since it is there. */
export const deviceCounters = (): Map<string, DeviceCounters> =>
  // /proc/self/net would show the namespace of the process's first thread.
  parseDeviceCounters(readFileSync("/proc/thread-self/net/dev", "utf8"));

/** /proc/net/dev as received and sent traffic by interface. */
export function parseDeviceCounters(text: string): Map<string, DeviceCounters> {
  const result = new Map<string, DeviceCounters>();
  for (const line of text.split("\n")) {
    const match = /^\s*([^:\s]+):\s*(.*)$/.exec(line);
    if (match === null) continue;
    const n = match[2].trim().split(/\s+/).map(Number);
    if (n.length < 10) continue;
    result.set(match[1], { received: { bytes: n[0], packets: n[1] }, sent: { bytes: n[8], packets: n[9] } });
  }
  return result;
}

/** The index of an interface of the current network namespace. @throws NoSuchInterfaceError */
export function interfaceIndex(reference: InterfaceReference): number {
  if (typeof reference === "number") return reference;
  const index = Number(if_nametoindex(reference));
  if (index === 0) throw new NoSuchInterfaceError(reference, interfaceNames());
  return index;
}

const NETLINK_ROUTE = 0;
const RTM_GETADDR = 22;
/** `struct ifaddrmsg` (include/uapi/linux/if_addr.h), and what follows it; on point-to-point links `address` is the peer's. */
const ifaddrmsgBytes = 8;
const addressAttributes = { address: [1, "bytes"], local: [2, "bytes"] } as const;

/** The IP addresses of all interfaces of the current network namespace, also of those that are down. @throws SystemCallError */
export function localAddresses(): Set<string> {
  const socket = new NetlinkSocket(NETLINK_ROUTE);
  try {
    const answers = socket.dump(RTM_GETADDR, new Uint8Array(ifaddrmsgBytes));
    return new Set(
      answers.flatMap(({ payload }) => {
        const { address, local = address } = decodeAttributes(addressAttributes, payload.subarray(ifaddrmsgBytes));
        return local ? [addressText(local)] : [];
      }),
    );
  } finally {
    socket.close();
  }
}
