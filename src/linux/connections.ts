/** MPTCP connections with their subflows: what sock_diag tells of both, joined by the token. */
import {
  SocketReader,
  subflowFlags,
  type MptcpSocket,
  type MptcpSubflowDiag,
  type TcpSocket,
  type TcpState,
} from "./diag.ts";
import type { MptcpCounters } from "./mptcp-info.ts";
import type { NetworkNamespace } from "./netns.ts";
import type { SocketAddress } from "./sockaddr.ts";
import type { TcpInfo } from "./tcp-info.ts";

export type SubflowState = {
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly localId: number;
  readonly remoteId: number;
  readonly state: TcpState;
  /** To be used only when no other is left; it does not matter who asked for it. */
  readonly backup: boolean;
  /** The first one of its connection; the others joined. */
  readonly first: boolean;
  /** Who opened it: this host. */
  readonly opened: boolean;
  readonly fullyEstablished: boolean;
  /** That it is bound to. */
  readonly interfaceIndex?: number;
  readonly congestionControl?: string;
  /** RTO, windows, rates, bytes; absent for sockets that are all but gone. */
  readonly tcp?: TcpInfo;
};

export type ConnectionState = {
  /** On this host. */
  readonly token: number;
  readonly state: TcpState;
  /** Of the first subflow. */
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  /** Whether the peer opened it; absent when its first subflow is gone, for then the kernel does not tell. */
  readonly serverSide?: boolean;
  readonly info: MptcpCounters;
  /** The first one first, the others by address ids. */
  readonly subflows: readonly SubflowState[];
};

function subflowOf(socket: TcpSocket, diag: MptcpSubflowDiag): SubflowState {
  const { local, remote, state, interfaceIndex, congestionControl, tcp } = socket;
  const has = (flags: number): boolean => (diag.flags & flags) !== 0;
  return {
    local,
    remote,
    localId: diag.idLocal,
    remoteId: diag.idRemote,
    state,
    backup: has(subflowFlags.backupLocal | subflowFlags.backupRemote),
    first: !has(subflowFlags.joinLocal | subflowFlags.joinRemote),
    opened: has(subflowFlags.capableLocal | subflowFlags.joinLocal),
    fullyEstablished: has(subflowFlags.fullyEstablished),
    ...(interfaceIndex !== 0 && { interfaceIndex }),
    ...(congestionControl !== undefined && { congestionControl }),
    ...(tcp && { tcp }),
  };
}

const byAge = (a: SubflowState, b: SubflowState): number =>
  Number(b.first) - Number(a.first) || a.localId - b.localId || a.remoteId - b.remoteId || a.local.port - b.local.port;

function connectionOf({ state, local, remote, info }: MptcpSocket, subflows: readonly SubflowState[]): ConnectionState {
  const first = subflows.find((one) => one.first);
  return {
    token: info.token,
    state,
    local,
    remote,
    ...(first && { serverSide: !first.opened }),
    info,
    subflows: [...subflows].sort(byAge),
  };
}

/** Puts subflows to their connections. Listeners, and connections that are plain TCP, are left out. Pure. */
export function joinConnections(connections: readonly MptcpSocket[], sockets: readonly TcpSocket[]): ConnectionState[] {
  const byToken = new Map<number, SubflowState[]>();
  for (const socket of sockets) {
    const { mptcp, state } = socket;
    if (!mptcp || state === "listen") continue;
    const subflows = byToken.get(mptcp.tokenLocal);
    if (subflows) subflows.push(subflowOf(socket, mptcp));
    else byToken.set(mptcp.tokenLocal, [subflowOf(socket, mptcp)]);
  }
  return connections
    .filter(({ state, fallback, info }) => state !== "listen" && !fallback && info.token !== 0)
    .map((one) => connectionOf(one, byToken.get(one.info.token) ?? []));
}

/** Reads the state of the connections of one namespace, over a netlink socket that stays open. */
export class ConnectionReader implements Disposable {
  readonly #sockets: SocketReader;

  constructor({ netns }: { readonly netns?: NetworkNamespace | undefined } = {}) {
    this.#sockets = new SocketReader(netns);
  }

  /**
   * All connections with their subflows.
   * @throws SystemCallError; InterruptedDumpError when sockets come and go faster than they can be listed.
   */
  all(): ConnectionState[] {
    // Subflows first: one of them whose connection is not listed is passed over, a connection without any would be wrong.
    const sockets = this.#sockets.tcp();
    return joinConnections(this.#sockets.mptcp(), sockets);
  }

  /** What the kernel counts of one connection; undefined when there is none with the token. Costs one small request. */
  info(token: number): MptcpCounters | undefined {
    return this.#sockets.mptcpByToken(token)?.info;
  }

  /**
   * One subflow; undefined when there is none with these ends. Costs one small request.
   * @param interfaceIndex that it is bound to
   */
  subflow(local: SocketAddress, remote: SocketAddress, interfaceIndex?: number): SubflowState | undefined {
    const socket = this.#sockets.tcpBetween(local, remote, interfaceIndex);
    return socket?.mptcp && subflowOf(socket, socket.mptcp);
  }

  /** Safe to call twice. */
  close(): void {
    this.#sockets.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** All MPTCP connections of a namespace with their subflows. @throws as {@link ConnectionReader.all} */
export function listConnections(netns?: NetworkNamespace): ConnectionState[] {
  using reader = new ConnectionReader({ netns });
  return reader.all();
}
