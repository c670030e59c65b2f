/**
 * What the kernel's path manager tells of MPTCP connections as it happens: the generic netlink family `mptcp_pm`, multicast
 * group `mptcp_pm_events` (include/uapi/linux/mptcp_pm.h).
 */
import { errnoName, watch } from "./ffi.ts";
import { findFamily, NoSuchFamilyError } from "./generic-netlink.ts";
import {
  decodeAttributes,
  decodeMessages,
  NetlinkSocket,
  type AttributeTable,
  type NetlinkMessage,
} from "./netlink.ts";
import { withNetns, type NetworkNamespace } from "./netns.ts";
import { pathManagerEvents, pathManagerFamily } from "./path-manager-table.ts";
import { addressText, type SocketAddress } from "./sockaddr.ts";
import { attachFilter, type FilterInstruction } from "./socket-filter.ts";
import { hasErrno, receive, setOption, SO_RCVBUFFORCE, SOL_SOCKET } from "./socket-calls.ts";

const NETLINK_GENERIC = 16;
const genericHeaderLength = 4;

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
  /** An errno; 0: none. */
  readonly error?: number;
  /** Its name, e.g. `ECONNREFUSED`. */
  readonly errorName?: string;
  readonly interfaceIndex?: number;
  /** RFC 8684, section 3.6. */
  readonly resetReason?: number;
  /** The reset says that trying again later may do. */
  readonly resetTransient?: boolean;
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
  const { token, localId, remoteId, backup, error, interfaceIndex, resetReason, resetFlags, serverSide } = found;
  const local = endOf(found.localAddress4 ?? found.localAddress6, found.localPort);
  const remote = endOf(found.remoteAddress4 ?? found.remoteAddress6, found.remotePort);
  const flags = found.flags ?? 0;
  const event: { -readonly [name in keyof MptcpEvent]: MptcpEvent[name] } = { kind, timeMs };
  if (token !== undefined) event.token = token;
  if (local) event.local = local;
  if (remote) event.remote = remote;
  if (localId !== undefined) event.localId = localId;
  if (remoteId !== undefined) event.remoteId = remoteId;
  if (backup !== undefined) event.backup = backup !== 0;
  if (error !== undefined) event.error = error;
  if (error) event.errorName = errnoName(error);
  if (interfaceIndex !== undefined) event.interfaceIndex = interfaceIndex;
  if (resetReason !== undefined) event.resetReason = resetReason;
  if (resetFlags !== undefined) event.resetTransient = resetFlags !== 0;
  const isServer = serverSide === 1 || (flags & eventFlags.serverSide) !== 0;
  if (serverSide !== undefined || isServer) event.serverSide = isServer;
  if ((flags & eventFlags.denyJoinId0) !== 0) event.denyJoinId0 = true;
  return event;
}

function endOf(address: Uint8Array | undefined, port = 0): SocketAddress | undefined {
  const isAddress = address?.length === 4 || address?.length === 16;
  return isAddress ? { address: addressText(address), port } : undefined;
}

export interface MptcpEventReader extends Disposable {
  /** Hands over what is there now. The event loop does so by itself. */
  drain(): void;
  /** Events that are of no use from now on, in the place of those named before: they wake nobody, and need no room. */
  leaveOut(kinds: readonly MptcpEventKind[]): void;
  /** Safe to call twice. */
  close(): void;
}

export interface MptcpEventHandlers {
  readonly event: (event: MptcpEvent) => void;
  /**
   * There were more events than the kernel had room for, and some are missing. It comes once for each time that happened,
   * after the events that are left: what is asked of the kernel then is newer than all of them.
   */
  readonly lost?: () => void;
}

export type MptcpEventOptions = {
  readonly netns?: NetworkNamespace | undefined;
  /** Room for events that were not read yet; some 500 bytes each. */
  readonly receiveBufferBytes?: number;
};

/** Offsets in messages: their type, which is the number of their family, and the command. */
const at = { type: 4, command: 16 } as const;
const codes = { half: 0x28, byte: 0x30, equal: 0x15, keep: 0x06 } as const;

/** Drops messages of a family by their commands, and keeps all others, such as answers. */
function filterOut(family: number, commands: readonly number[]): readonly FilterInstruction[] {
  // Loads take bytes for big-endian.
  const type = ((family & 0xff) << 8) | (family >> 8);
  return [
    [codes.half, 0, 0, at.type],
    [codes.equal, 0, commands.length + 1, type],
    [codes.byte, 0, 0, at.command],
    ...commands.map((command, i): FilterInstruction => [codes.equal, commands.length - i, 0, command]),
    [codes.keep, 0, 0, 0xffff_ffff],
    [codes.keep, 0, 0, 0],
  ];
}

/** After so many datagrams other work of the event loop gets its turn. */
const mostAtOnce = 1000;

/**
 * Tells what the path manager of a network namespace tells, on the event loop, until closed. Nothing runs while nothing
 * happens. Where user space manages paths, the kernel takes subflows from peers only while somebody on the machine does this.
 * @throws NoSuchFamilyError on a kernel without MPTCP; Error without CAP_NET_ADMIN; SystemCallError.
 */
export function watchPathManager(
  { event, lost }: MptcpEventHandlers,
  { netns, receiveBufferBytes = 4 << 20 }: MptcpEventOptions = {},
): MptcpEventReader {
  const socket = withNetns(netns, () => new NetlinkSocket(NETLINK_GENERIC));
  let familyId: number;
  try {
    const family = findFamily(socket, pathManagerFamily.name);
    const group = family?.groups.get(pathManagerEvents);
    if (!family || group === undefined)
      throw new NoSuchFamilyError(pathManagerEvents, "CONFIG_MPTCP=y, Linux 5.12 or newer");
    familyId = family.id;
    setOption(socket.fd, SOL_SOCKET, SO_RCVBUFFORCE, receiveBufferBytes);
    socket.join(group);
  } catch (error) {
    socket.close();
    if (hasErrno(error, "EPERM"))
      throw new Error("Cannot read MPTCP events: this needs CAP_NET_ADMIN; run as root", { cause: error });
    throw error;
  }
  const buffer = new Uint8Array(64 * 1024);
  let open = true;
  let missed = false;
  /** One datagram; undefined when there is none. */
  const receiveOne = (): Uint8Array | undefined => {
    try {
      const length = receive(socket.fd, buffer, 0);
      return length === undefined ? undefined : buffer.subarray(0, length);
    } catch (error) {
      if (!hasErrno(error, "ENOBUFS")) throw error;
      missed = true;
      return buffer.subarray(0, 0);
    }
  };
  /** A handler may close this, and then nothing more is handed over. */
  const handOver = (bytes: Uint8Array) => {
    const timeMs = Date.now();
    for (const message of decodeMessages(bytes)) {
      const parsed = parseMptcpEvent(message, timeMs);
      if (parsed && open) event(parsed);
    }
  };
  const drain = () => {
    for (let count = 0; count < mostAtOnce; count++) {
      const bytes = open ? receiveOne() : undefined;
      if (!bytes) break;
      handOver(bytes);
    }
    if (!missed || !open) return;
    missed = false;
    lost?.();
  };
  const stop = watch(socket.fd, drain);
  const leaveOut = (useless: readonly MptcpEventKind[]) => {
    const commands = Object.entries(kinds).filter(([, kind]) => useless.includes(kind));
    attachFilter(
      socket.fd,
      filterOut(
        familyId,
        commands.map(([number]) => Number(number)),
      ),
    );
  };
  const close = () => {
    if (!open) return;
    open = false;
    stop();
    socket.close();
  };
  return { drain, leaveOut, close, [Symbol.dispose]: close };
}
