/**
 * What the kernel's path manager tells of MPTCP connections as it happens: the generic netlink family `mptcp_pm`, multicast
 * group `mptcp_pm_events` (include/uapi/linux/mptcp_pm.h).
 */
import { watch } from "./ffi.ts";
import {
  decodeAttributes,
  decodeMessages,
  NetlinkSocket,
  type AttributeTable,
  type NetlinkMessage,
} from "./netlink.ts";
import { withNetns, type NetworkNamespace } from "./netns.ts";
import { addressText, type SocketAddress } from "./sockaddr.ts";
import { hasErrno, receive, setOption, SO_RCVBUFFORCE, SOL_SOCKET } from "./socket-calls.ts";

const NETLINK_GENERIC = 16;
const GENL_ID_CTRL = 0x10;
const CTRL_CMD_GETFAMILY = 3;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const genericHeaderLength = 4;
const receiveBufferBytes = 4 << 20;
const familyName = "mptcp_pm";
const groupName = "mptcp_pm_events";

const kinds = {
  1: "created",
  2: "established",
  3: "closed",
  6: "announced",
  7: "removed",
  10: "subflow_established",
  11: "subflow_closed",
  13: "subflow_priority",
  15: "listener_created",
  16: "listener_closed",
} as const;
export type MptcpEventKind = (typeof kinds)[keyof typeof kinds];

const attributes = {
  token: [1, "u32"],
  localId: [3, "u8"],
  remoteId: [4, "u8"],
  localAddress4: [5, "bytes"],
  localAddress6: [6, "bytes"],
  remoteAddress4: [7, "bytes"],
  remoteAddress6: [8, "bytes"],
  localPort: [9, "be16"],
  remotePort: [10, "be16"],
  backup: [11, "u8"],
  error: [12, "u8"],
  flags: [13, "u16"],
  interfaceIndex: [15, "u32"],
  resetReason: [16, "u32"],
  resetFlags: [17, "u32"],
  serverSide: [18, "u8"],
} as const satisfies AttributeTable;

/** Bits of the event's flags. */
const eventFlags = { denyJoinId0: 1, serverSide: 2 } as const;

/** Fields are there where the kernel gave them: those of the connection, of the subflow or of the address concerned. */
export type MptcpEvent = {
  readonly kind: MptcpEventKind;
  /** When it was read, in milliseconds since 1970. */
  readonly timeMs: number;
  /** Of the connection, on this host; absent for listeners. */
  readonly token?: number;
  readonly local?: SocketAddress;
  /** The peer's end; of `announced` the address that it announced (port 0: that of the connection). */
  readonly remote?: SocketAddress;
  readonly localId?: number;
  readonly remoteId?: number;
  readonly backup?: boolean;
  /** An errno. */
  readonly error?: number;
  readonly interfaceIndex?: number;
  /** RFC 8684, section 3.6. */
  readonly resetReason?: number;
  readonly serverSide?: boolean;
  /** The peer takes no subflows to the address of the first one. */
  readonly denyJoinId0?: boolean;
};

/** One message of the group; undefined for commands that are unknown here. */
export function parseMptcpEvent(message: Pick<NetlinkMessage, "payload">, timeMs: number): MptcpEvent | undefined {
  const { payload } = message;
  if (payload.length < genericHeaderLength) return undefined;
  const kind = (kinds as Readonly<Record<number, MptcpEventKind>>)[payload[0]];
  if (kind === undefined) return undefined;
  const found = decodeAttributes(attributes, payload.subarray(genericHeaderLength));
  const { token, localId, remoteId, backup, error, interfaceIndex, resetReason, serverSide, flags = 0 } = found;
  const local = endOf(found.localAddress4 ?? found.localAddress6, found.localPort);
  const remote = endOf(found.remoteAddress4 ?? found.remoteAddress6, found.remotePort);
  return {
    kind,
    timeMs,
    ...(token !== undefined && { token }),
    ...(local && { local }),
    ...(remote && { remote }),
    ...(localId !== undefined && { localId }),
    ...(remoteId !== undefined && { remoteId }),
    ...(backup !== undefined && { backup: backup !== 0 }),
    ...(error !== undefined && { error }),
    ...(interfaceIndex !== undefined && { interfaceIndex }),
    ...(resetReason !== undefined && { resetReason }),
    ...((serverSide !== undefined || (flags & eventFlags.serverSide) !== 0) && {
      serverSide: serverSide === 1 || (flags & eventFlags.serverSide) !== 0,
    }),
    ...((flags & eventFlags.denyJoinId0) !== 0 && { denyJoinId0: true }),
  };
}

function endOf(address: Uint8Array | undefined, port = 0): SocketAddress | undefined {
  const isAddress = address?.length === 4 || address?.length === 16;
  return isAddress ? { address: addressText(address), port } : undefined;
}

const familyAttributes = { id: [1, "u16"], name: [2, "string"], groups: [7, "bytes"] } as const;
const groupAttributes = { name: [1, "string"], id: [2, "u32"] } as const;

/** The number of the event group; undefined when the kernel has no such family or group. */
export function findGroup(families: readonly NetlinkMessage[], family: string, group: string): number | undefined {
  for (const { payload } of families) {
    const found = decodeAttributes(familyAttributes, payload.subarray(genericHeaderLength));
    if (found.name !== family || found.groups === undefined) continue;
    // Groups are nested under numbers from 1 on.
    const numbered = Array.from({ length: 8 }, (_, i) => [`group${i}`, [i + 1, groupAttributes]] as const);
    const groups = decodeAttributes(Object.fromEntries(numbered), found.groups);
    const wanted = Object.values(groups).find((one) => (one as { name?: string }).name === group);
    if (wanted) return (wanted as { id?: number }).id;
  }
  return undefined;
}

export interface MptcpEventReader extends Disposable {
  /** Hands over what is there now. The event loop does so by itself. */
  drain(): void;
  /** Safe to call twice. */
  close(): void;
}

export interface MptcpEventHandlers {
  readonly event: (event: MptcpEvent) => void;
  /** The kernel had more events than there was room for; some are missing. */
  readonly lost?: () => void;
}

/**
 * Reads the path manager's events of a network namespace on the event loop, until closed.
 * @throws Error without CAP_NET_ADMIN, and on a kernel without MPTCP; SystemCallError.
 */
export function readMptcpEvents({ event, lost }: MptcpEventHandlers, netns?: NetworkNamespace): MptcpEventReader {
  const socket = withNetns(netns, () => new NetlinkSocket(NETLINK_GENERIC));
  try {
    const families = socket.dump(GENL_ID_CTRL, Uint8Array.of(CTRL_CMD_GETFAMILY, 1, 0, 0));
    const group = findGroup(families, familyName, groupName);
    if (group === undefined)
      throw new Error(
        `Cannot read MPTCP events: this kernel has no ${groupName}; it needs CONFIG_MPTCP, Linux 5.12 or later`,
      );
    setOption(socket.fd, SOL_SOCKET, SO_RCVBUFFORCE, receiveBufferBytes);
    setOption(socket.fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group);
  } catch (error) {
    socket.close();
    if (hasErrno(error, "EPERM"))
      throw new Error("Cannot read MPTCP events: this needs CAP_NET_ADMIN; run as root", { cause: error });
    throw error;
  }
  const buffer = new Uint8Array(64 * 1024);
  let open = true;
  const receiveOne = (): Uint8Array | undefined => {
    try {
      const length = receive(socket.fd, buffer, 0);
      return length === undefined ? undefined : buffer.subarray(0, length);
    } catch (error) {
      if (!hasErrno(error, "ENOBUFS")) throw error;
      lost?.();
      return new Uint8Array(0);
    }
  };
  const drain = () => {
    for (let bytes = open ? receiveOne() : undefined; bytes; bytes = open ? receiveOne() : undefined)
      for (const message of decodeMessages(bytes)) {
        const parsed = parseMptcpEvent(message, Date.now());
        if (parsed) event(parsed);
      }
  };
  const stop = watch(socket.fd, drain);
  const close = () => {
    if (!open) return;
    open = false;
    stop();
    socket.close();
  };
  return { drain, close, [Symbol.dispose]: close };
}
