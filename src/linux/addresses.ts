/**
 * The addresses that a namespace can send from, as they come and go (rtnetlink: include/uapi/linux/rtnetlink.h, if_link.h,
 * if_addr.h).
 */
import { watch } from "./ffi.ts";
import {
  decodeAttributes,
  decodeMessages,
  InterruptedDumpError,
  NetlinkSocket,
  type NetlinkMessage,
} from "./netlink.ts";
import { withNetns, type NetworkNamespace } from "./netns.ts";
import { addressText } from "./sockaddr.ts";
import { hasErrno, receive } from "./socket-calls.ts";

const NETLINK_ROUTE = 0;
const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
/** Multicast groups: links, IPv4 addresses, IPv6 addresses. */
const groups = [1, 5, 9];

/** `struct ifinfomsg`, `struct ifaddrmsg`. */
const linkHeaderLength = 16;
const addressHeaderLength = 8;
const linkAttributes = { name: [3, "string"] } as const;
const addressAttributes = { address: [1, "bytes"], local: [2, "bytes"], flags: [8, "u32"] } as const;

const IFF_UP = 1;
const IFF_LOOPBACK = 8;
const IFF_POINTOPOINT = 0x10;
const IFF_RUNNING = 0x40;
const IFA_F_DADFAILED = 8;
const IFA_F_DEPRECATED = 0x20;
const IFA_F_TENTATIVE = 0x40;
const scopes: Readonly<Record<number, LocalAddress["scope"]>> = { 0: "global", 200: "site", 253: "link", 254: "host" };

/** An address that can be used now: its interface is up and has a carrier, and nobody else has the address. */
export type LocalAddress = {
  readonly address: string;
  readonly prefixLength: number;
  readonly interface: string;
  readonly interfaceIndex: number;
  readonly scope: "global" | "site" | "link" | "host";
  readonly loopback: boolean;
  readonly pointToPoint: boolean;
  /** IPv6: still good, but not for new connections. */
  readonly deprecated: boolean;
};

export interface AddressHandlers {
  readonly added: (address: LocalAddress) => void;
  /** Gone, or its interface is down or without carrier. */
  readonly removed: (address: LocalAddress) => void;
}

export interface AddressWatcher extends Disposable {
  /** Those that can be used now. */
  readonly addresses: readonly LocalAddress[];
  /** Hands over what is there now. The event loop does so by itself. */
  drain(): void;
  /** Safe to call twice. */
  close(): void;
}

type Link = { readonly name: string; readonly flags: number };
type Assigned = {
  readonly address: string;
  readonly index: number;
  prefixLength: number;
  scope: number;
  flags: number;
};

/** What the kernel told so far, whether it can be used or not. */
export class AddressTable {
  #links = new Map<number, Link>();
  #assigned = new Map<string, Assigned>();

  /** @returns whether the message was about links or addresses */
  take({ type, payload }: Pick<NetlinkMessage, "type" | "payload">): boolean {
    const data = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
    if ((type === RTM_NEWLINK || type === RTM_DELLINK) && payload.length >= linkHeaderLength) {
      // Those of another family are about bridges and their ports.
      if (payload[0] !== 0) return false;
      const index = data.getInt32(4, true);
      const { name } = decodeAttributes(linkAttributes, payload.subarray(linkHeaderLength));
      if (type === RTM_DELLINK) this.#links.delete(index);
      else this.#links.set(index, { name: name ?? `interface ${index}`, flags: data.getUint32(8, true) });
      return true;
    }
    if ((type !== RTM_NEWADDR && type !== RTM_DELADDR) || payload.length < addressHeaderLength) return false;
    const found = decodeAttributes(addressAttributes, payload.subarray(addressHeaderLength));
    // On point-to-point links `address` is the peer's.
    const bytes = found.local ?? found.address;
    if (bytes?.length !== 4 && bytes?.length !== 16) return false;
    const index = data.getUint32(4, true);
    const address = addressText(bytes);
    const one = { address, index, prefixLength: payload[1], scope: payload[3], flags: found.flags ?? payload[2] };
    const key = `${index} ${address}/${one.prefixLength}`;
    if (type === RTM_DELADDR) this.#assigned.delete(key);
    else this.#assigned.set(key, one);
    return true;
  }

  /** By interface and address; an address that has two prefixes on an interface is one. */
  usable(): Map<string, LocalAddress> {
    const result = new Map<string, LocalAddress>();
    for (const { address, index, prefixLength, scope, flags } of this.#assigned.values()) {
      const link = this.#links.get(index);
      if (!link || (~link.flags & (IFF_UP | IFF_RUNNING)) !== 0) continue;
      if ((flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) !== 0) continue;
      result.set(`${index} ${address}`, {
        address,
        prefixLength,
        interface: link.name,
        interfaceIndex: index,
        scope: scopes[scope] ?? "global",
        loopback: (link.flags & IFF_LOOPBACK) !== 0,
        pointToPoint: (link.flags & IFF_POINTOPOINT) !== 0,
        deprecated: (flags & IFA_F_DEPRECATED) !== 0,
      });
    }
    return result;
  }
}

const attempts = 4;

/** All links and addresses of a namespace. @throws InterruptedDumpError, NetlinkError */
function readAll(netns: NetworkNamespace | undefined): AddressTable {
  const socket = withNetns(netns, () => new NetlinkSocket(NETLINK_ROUTE));
  try {
    for (let attempt = 1; ; attempt++) {
      try {
        const table = new AddressTable();
        const links = socket.dump(RTM_GETLINK, new Uint8Array(linkHeaderLength));
        for (const message of [...links, ...socket.dump(RTM_GETADDR, new Uint8Array(addressHeaderLength))])
          table.take(message);
        return table;
      } catch (error) {
        if (!(error instanceof InterruptedDumpError) || attempt === attempts) throw error;
      }
    }
  } finally {
    socket.close();
  }
}

/** The addresses of a namespace that can be used now. @throws InterruptedDumpError, NetlinkError */
export function usableAddresses(netns?: NetworkNamespace): LocalAddress[] {
  return [...readAll(netns).usable().values()];
}

/**
 * Tells of the addresses of a namespace: first `added` for each that is there, before this returns; then what changes, on the
 * event loop, until closed. Where the kernel had more to tell than there was room for, all are read again, and only what
 * differs is told. Needs no privileges.
 * @throws InterruptedDumpError, NetlinkError, SystemCallError
 */
export function watchAddresses(
  handlers: AddressHandlers,
  { netns }: { readonly netns?: NetworkNamespace | undefined } = {},
): AddressWatcher {
  const socket = withNetns(netns, () => new NetlinkSocket(NETLINK_ROUTE));
  const buffer = new Uint8Array(64 * 1024);
  let open = true;
  let table: AddressTable;
  let known = new Map<string, LocalAddress>();
  const tell = () => {
    const now = table.usable();
    const before = known;
    known = now;
    for (const [key, one] of before) if (open && !same(now.get(key), one)) handlers.removed(one);
    for (const [key, one] of now) if (open && !same(before.get(key), one)) handlers.added(one);
  };
  const drain = () => {
    if (!open) return;
    let changed = false;
    let missed = false;
    for (;;) {
      try {
        const length = receive(socket.fd, buffer, 0);
        if (length === undefined) break;
        for (const message of decodeMessages(buffer.subarray(0, length))) changed = table.take(message) || changed;
      } catch (error) {
        if (!hasErrno(error, "ENOBUFS")) throw error;
        missed = true;
      }
    }
    // What was still in the queue is older than what is read now.
    if (missed) table = readAll(netns);
    if (changed || missed) tell();
  };
  let stop: (() => void) | undefined;
  const close = () => {
    if (!open) return;
    open = false;
    stop?.();
    socket.close();
  };
  try {
    // What changes from here on is told after what is read now, if it is not in it already.
    for (const group of groups) socket.join(group);
    table = readAll(netns);
    tell();
    stop = watch(socket.fd, drain);
  } catch (error) {
    close();
    throw error;
  }
  return {
    get addresses() {
      return [...known.values()];
    },
    drain,
    close,
    [Symbol.dispose]: close,
  };
}

/** Whether nothing changed that a path depends on. */
function same(one: LocalAddress | undefined, other: LocalAddress): boolean {
  return one?.interface === other.interface && one.deprecated === other.deprecated && one.scope === other.scope;
}
