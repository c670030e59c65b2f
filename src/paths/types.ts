/** What controllers see: connections, their subflows, addresses; and what they can do with them. */
import type { LocalAddress, MptcpCounters, PathManager, SocketAddress, SubflowState } from "../linux/index.ts";

/** One subflow of a connection. The object stays the same while it lives, and is kept up to date. */
export interface Subflow {
  readonly connection: Connection;
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  /** Address ids; 0 is the address of the connection's first subflow. */
  readonly localId: number;
  readonly remoteId: number;
  /** To be used only when no other is left. */
  readonly backup: boolean;
  /** Established, and not closed yet. */
  readonly open: boolean;
  /** Closed by a controller of this process. */
  readonly removed: boolean;
  /**
   * Why it closed, as an errno name: `ECONNRESET`, `ECONNREFUSED`, `ETIMEDOUT`, `ENETUNREACH`, …; absent when it was closed
   * in good order, by either side, or is open.
   */
  readonly error?: string;
  /** The reason in the peer's reset (RFC 8684, section 3.6), where it gave one. */
  readonly resetReason?: number;
  /** What the kernel knows of it now: RTO, windows, rates; undefined when it is gone. */
  info(): SubflowState | undefined;
}

/** An address that the peer announced. */
export type PeerAddress = {
  readonly id: number;
  readonly address: string;
  /** That of the connection, where the peer named none. */
  readonly port: number;
};

export type NewSubflow = {
  /** Default: the address of the first subflow. An interface index binds it, so that it leaves there whatever the routes say. */
  readonly local?: {
    readonly address: string;
    readonly port?: number;
    readonly interfaceIndex?: number;
  };
  /** Default: that of the connection; the port, too. */
  readonly remote?: { readonly address: string; readonly port?: number };
  readonly backup?: boolean;
};

/** A subflow on the way: its SYN was sent, and nothing was heard of it. */
export type PendingSubflow = { readonly local: string; readonly localId: number; readonly remote: SocketAddress };

/**
 * An MPTCP connection. Commands are done when they return; where the connection or the subflow has just ended, they do nothing.
 * They throw PathManagerError, whose `kind` says why the kernel refused, and RangeError for what is no address, port or id.
 */
export interface Connection {
  readonly manager: Manager;
  /** On this host. */
  readonly token: number;
  /** Whether the peer opened it. */
  readonly serverSide: boolean;
  /** Of the first subflow. */
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  /** The peer takes no more subflows to the address of the first one. */
  readonly denyJoinId0: boolean;
  readonly established: boolean;
  readonly closed: boolean;
  /** Those that are open, and that no controller of this process has removed. */
  readonly subflows: readonly Subflow[];
  readonly pending: readonly PendingSubflow[];
  /**
   * The peer's addresses by id. The kernel does not list them: of those that it announced before this process began, those are
   * known that subflows of this host lead to.
   */
  readonly announced: ReadonlyMap<number, PeerAddress>;
  /**
   * Sends the SYN; `subflowEstablished` or `subflowClosed`, with an error, tells the rest.
   * @returns false when nothing was sent, for the connection has just ended
   */
  createSubflow(options?: NewSubflow): boolean;
  /** Also one that is on its way. */
  removeSubflow(subflow: Subflow | PendingSubflow): void;
  /** Asks both sides to use a subflow only when no other is left, or as any other again. */
  setBackup(subflow: Subflow, backup: boolean): void;
  /** Tells the peer of an address. @returns its id; 0 when the peer was not told, for the connection has just ended */
  announce(address: { readonly address: string; readonly port?: number; readonly interfaceIndex?: number }): number;
  /** Takes an address back; both sides close its subflows. */
  withdraw(id: number): void;
  /** What the kernel counts of it now, `sndUna` among it; undefined when it is gone. */
  info(): MptcpCounters | undefined;
  /** Calls `work` once, unless the connection or the controllers end before. @returns a function that calls it off */
  after(delayMs: number, work: () => unknown): () => void;
  /** Calls `work` again and again, until the connection or the controllers end. @returns a function that calls it off */
  every(periodMs: number, work: () => unknown): () => void;
}

/** The host: all connections, and its own addresses. */
export interface Manager {
  readonly connections: readonly Connection[];
  /** Those that a subflow may come from: no loopback, no link-local, no deprecated ones. */
  readonly addresses: readonly LocalAddress[];
  /** What an interface has carried, both ways, since it is there; undefined when it is not. */
  carriedBytes(interfaceName: string): number | undefined;
  /** All commands as the kernel has them: endpoints and limits of its own path manager, too. */
  readonly pathManager: PathManager;
}
