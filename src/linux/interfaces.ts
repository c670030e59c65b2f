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
export function interfaceNames(): string[] {
  return readFileSync("/proc/thread-self/net/dev", "utf8")
    .split("\n")
    .map((line) => /^\s*([^\s:]+):/.exec(line)?.[1])
    .filter((name) => name !== undefined);
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
