/** The TCP sockets of a namespace, as sock_diag tells of them (include/uapi/linux/inet_diag.h, mptcp.h). */
import { hasErrno } from "./socket-calls.ts";
import { hasFallenBack, parseMptcpInfo, type MptcpCounters } from "./mptcp-info.ts";
import {
  concat,
  decodeAttributes,
  encodeAttributes,
  InterruptedDumpError,
  NetlinkSocket,
  type NetlinkMessage,
} from "./netlink.ts";
import { withNetns, type NetworkNamespace } from "./netns.ts";
import { addressBytes, addressText, AF_INET, AF_INET6, familyOf, type SocketAddress } from "./sockaddr.ts";
import { parseTcpInfo, type TcpInfo } from "./tcp-info.ts";

const NETLINK_SOCK_DIAG = 4;
const SOCK_DIAG_BY_FAMILY = 20;
const IPPROTO_TCP = 6;
const IPPROTO_MPTCP = 262;
/** Asks for a protocol whose number does not fit the request's header. */
const requestAttributes = { protocol: [3, "u32"] } as const;
const INET_DIAG_INFO = 2;
const INET_DIAG_CONG = 4;
const diagMessageLength = 72;

/** State numbers of include/net/tcp_states.h. */
const states = [
  "unknown",
  "established",
  "syn-sent",
  "syn-received",
  "fin-wait-1",
  "fin-wait-2",
  "time-wait",
  "closed",
  "close-wait",
  "last-ack",
  "listen",
  "closing",
  "new-syn-received",
] as const;
export type TcpState = (typeof states)[number];

const attributes = {
  info: [INET_DIAG_INFO, "bytes"],
  congestion: [INET_DIAG_CONG, "string"],
  ulp: [
    19,
    {
      name: [1, "string"],
      mptcp: [
        3,
        {
          tokenRemote: [1, "u32"],
          tokenLocal: [2, "u32"],
          flags: [8, "u32"],
          idRemote: [9, "u8"],
          idLocal: [10, "u8"],
        },
      ],
    },
  ],
} as const;

/** Bits of `flags` in `MptcpSubflowDiag`. */
export const subflowFlags = {
  capableRemote: 1 << 0,
  capableLocal: 1 << 1,
  joinRemote: 1 << 2,
  joinLocal: 1 << 3,
  backupRemote: 1 << 4,
  backupLocal: 1 << 5,
  fullyEstablished: 1 << 6,
  connected: 1 << 7,
} as const;

export type MptcpSubflowDiag = {
  /** Tokens identify the connection: all its subflows on one host share `tokenLocal`. */
  readonly tokenLocal: number;
  readonly tokenRemote: number;
  /** Address ids. */
  readonly idLocal: number;
  readonly idRemote: number;
  readonly flags: number;
};

export type TcpSocket = {
  readonly state: TcpState;
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly interfaceIndex: number;
  readonly inode: number;
  /** Absent for sockets in time-wait and the like. */
  readonly tcp?: TcpInfo;
  /** Name of the congestion control, e.g. "cubic". */
  readonly congestionControl?: string;
  /** Present when the socket is an MPTCP subflow. */
  readonly mptcp?: MptcpSubflowDiag;
};

/** An MPTCP connection as a whole; its subflows are among the TCP sockets, with the same `token` as `tokenLocal`. */
export type MptcpSocket = {
  readonly state: TcpState;
  /** Of the first subflow. */
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly inode: number;
  /** The connection is plain TCP: the peer or a middlebox did not take part. */
  readonly fallback: boolean;
  readonly info: MptcpCounters;
};

/** Attempts at a dump that the kernel calls inconsistent. */
const attempts = 4;

/**
 * All TCP sockets of a namespace, subflows of MPTCP connections among them.
 * @param netns the current namespace when absent.
 * @throws SystemCallError; InterruptedDumpError when sockets come and go faster than they can be listed.
 */
export function dumpTcpSockets(netns?: NetworkNamespace): TcpSocket[] {
  using sockets = new SocketReader(netns);
  return sockets.tcp();
}

/**
 * All MPTCP connections of a namespace; none on a kernel that cannot list them.
 * @throws as {@link dumpTcpSockets}
 */
export function dumpMptcpSockets(netns?: NetworkNamespace): MptcpSocket[] {
  using sockets = new SocketReader(netns);
  return sockets.mptcp();
}

const requestBytes = 56;
/** Stands for any socket with these addresses and ports. */
const noCookie = 0xffff_ffff;

function encodeRequest(
  family: number,
  protocol: number,
  fill: (data: DataView, bytes: Uint8Array) => void,
): Uint8Array {
  const request = new Uint8Array(requestBytes);
  const allStates = 0xffff;
  request.set([family, Math.min(protocol, 0xff), (1 << (INET_DIAG_INFO - 1)) | (1 << (INET_DIAG_CONG - 1))]);
  const data = new DataView(request.buffer);
  data.setUint32(4, allStates, true);
  fill(data, request);
  return protocol > 0xff ? concat([request, encodeAttributes(requestAttributes, { protocol })]) : request;
}

/** Asks for sockets of one namespace, all or a single one, over a netlink socket that stays open. */
export class SocketReader implements Disposable {
  readonly #socket: NetlinkSocket;
  #open = true;

  constructor(netns?: NetworkNamespace) {
    this.#socket = withNetns(netns, () => new NetlinkSocket(NETLINK_SOCK_DIAG));
  }

  /** @throws as {@link dumpTcpSockets} */
  tcp(): TcpSocket[] {
    return [AF_INET, AF_INET6].flatMap((family) => this.#dump(family, IPPROTO_TCP, parseDiagMessage));
  }

  /** @throws as {@link dumpTcpSockets} */
  mptcp(): MptcpSocket[] {
    try {
      return [AF_INET, AF_INET6].flatMap((family) => this.#dump(family, IPPROTO_MPTCP, parseMptcpDiagMessage));
    } catch (error) {
      // Without CONFIG_INET_MPTCP_DIAG nobody answers for the protocol.
      if (hasErrno(error, "ENOENT", "EINVAL", "EPROTONOSUPPORT")) return [];
      throw error;
    }
  }

  /**
   * The TCP socket with these ends; undefined when there is none.
   * @param interfaceIndex that it is bound to; the kernel does not find a bound one without
   * @throws SystemCallError, RangeError for no IP address
   */
  tcpBetween(local: SocketAddress, remote: SocketAddress, interfaceIndex = 0): TcpSocket | undefined {
    const request = encodeRequest(familyOf(local.address), IPPROTO_TCP, (data, bytes) => {
      data.setUint16(8, local.port);
      data.setUint16(10, remote.port);
      bytes.set(addressBytes(local.address), 12);
      bytes.set(addressBytes(remote.address), 28);
      data.setUint32(44, interfaceIndex, true);
      data.setUint32(48, noCookie, true);
      data.setUint32(52, noCookie, true);
    });
    return this.#one(request, parseDiagMessage);
  }

  /** The MPTCP connection with this token; undefined when there is none. @throws SystemCallError */
  mptcpByToken(token: number): MptcpSocket | undefined {
    // The place of the cookie is the token's.
    const request = encodeRequest(AF_INET, IPPROTO_MPTCP, (data) => data.setUint32(48, token, true));
    return this.#one(request, parseMptcpDiagMessage);
  }

  /** Safe to call twice. */
  close(): void {
    if (this.#open) this.#socket.close();
    this.#open = false;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #one<T>(request: Uint8Array, parse: (message: NetlinkMessage) => T | undefined): T | undefined {
    try {
      return this.#socket
        .ask(SOCK_DIAG_BY_FAMILY, 0, request)
        .map(parse)
        .find((one) => one !== undefined);
    } catch (error) {
      if (hasErrno(error, "ENOENT", "ESTALE")) return undefined;
      throw error;
    }
  }

  #dump<T>(family: number, protocol: number, parse: (message: NetlinkMessage) => T | undefined): T[] {
    const request = encodeRequest(family, protocol, () => undefined);
    for (let attempt = 1; ; attempt++) {
      try {
        return this.#socket.dump(SOCK_DIAG_BY_FAMILY, request).flatMap((message) => parse(message) ?? []);
      } catch (error) {
        if (!(error instanceof InterruptedDumpError) || attempt === attempts) throw error;
      }
    }
  }
}

/** What all answers start with, and their attributes; undefined when it is too short or of another kind. */
function parseHeader(message: NetlinkMessage) {
  const bytes = message.payload;
  if (message.type !== SOCK_DIAG_BY_FAMILY || bytes.length < diagMessageLength) return undefined;
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const family = bytes[0];
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  const addressLength = family === AF_INET ? 4 : 16;
  const at = (offset: number, portOffset: number): SocketAddress => ({
    address: addressText(bytes.subarray(offset, offset + addressLength)),
    port: data.getUint16(portOffset),
  });
  const header = {
    state: states[bytes[1]] ?? "unknown",
    local: at(8, 4),
    remote: at(24, 6),
    interfaceIndex: data.getUint32(40, true),
    inode: data.getUint32(68, true),
  };
  return { header, found: decodeAttributes(attributes, bytes.subarray(diagMessageLength)) };
}

/** One answer about MPTCP; undefined when it is too short or of another kind. */
export function parseMptcpDiagMessage(message: NetlinkMessage): MptcpSocket | undefined {
  const parsed = parseHeader(message);
  if (!parsed) return undefined;
  const { state, local, remote, inode } = parsed.header;
  const info = parseMptcpInfo(parsed.found.info ?? new Uint8Array(0));
  return { state, local, remote, inode, fallback: hasFallenBack(info), info };
}

/** One answer; undefined when it is too short or of another kind. */
export function parseDiagMessage(message: NetlinkMessage): TcpSocket | undefined {
  const parsed = parseHeader(message);
  if (!parsed) return undefined;
  const { header, found } = parsed;
  const mptcp = found.ulp?.name === "mptcp" ? found.ulp.mptcp : undefined;
  return {
    ...header,
    ...(found.info === undefined ? {} : { tcp: parseTcpInfo(found.info) }),
    ...(found.congestion === undefined ? {} : { congestionControl: found.congestion }),
    ...(mptcp === undefined
      ? {}
      : {
          mptcp: {
            tokenLocal: mptcp.tokenLocal ?? 0,
            tokenRemote: mptcp.tokenRemote ?? 0,
            idLocal: mptcp.idLocal ?? 0,
            idRemote: mptcp.idRemote ?? 0,
            flags: mptcp.flags ?? 0,
          },
        }),
  };
}
