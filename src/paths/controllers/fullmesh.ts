import type { LocalAddress } from "../../linux/index.ts";
import { controller } from "../controller.ts";
import type { Connection } from "../types.ts";
import { isStranded, isThere, leave, localsFor, open, remotesOf, type OnInterfaces, type Remote } from "./pairs.ts";

export type FullmeshOptions = OnInterfaces & {
  /** How long to wait before a failed subflow is tried again, by what became of it. Default 1 s, 10 s, 30 s. */
  readonly resetMs?: number;
  readonly timeoutMs?: number;
  readonly unreachableMs?: number;
  /** Of each connection, the first one and those on their way included, whatever the peer announces. Default 8. */
  readonly mostSubflows?: number;
};

const pairOf = (local: string, { address, port }: Remote): string => `${local} ${address} ${port}`;

/** An address comes before the routes from it. */
const settleMs = 200;

/**
 * A subflow from each address of this host to each address of the peer, kept up: one that failed is tried again after a time
 * that depends on the error, one from a new address is opened when the address comes (section 4.1 of the SMAPP paper). Subflows
 * that were closed without an error stay closed: a controller or the peer did not want them.
 */
export const fullmesh = (options: FullmeshOptions = {}) => {
  const { resetMs = 1000, timeoutMs = 10_000, unreachableMs = 30_000, mostSubflows = 8 } = options;
  const waitMs: Readonly<Record<string, number>> = {
    ECONNRESET: resetMs,
    ECONNREFUSED: resetMs,
    EPIPE: resetMs,
    ETIMEDOUT: timeoutMs,
  };
  /** Pairs that failed, until they are tried again. */
  const waiting = new WeakMap<Connection, Set<string>>();

  const add = (connection: Connection, local: LocalAddress, remote: Remote): void => {
    if (connection.subflows.length + connection.pending.length >= mostSubflows) return;
    if (isThere(connection, local.address, remote)) return;
    if (waiting.get(connection)?.has(pairOf(local.address, remote))) return;
    // An address that has just gone comes again by itself, or not at all.
    if (open(connection, { local, remote }) === "unreachable") retry(connection, local.address, remote, unreachableMs);
  };
  const retry = (connection: Connection, local: string, remote: Remote, delayMs: number): void => {
    const pair = pairOf(local, remote);
    const pairs = waiting.get(connection) ?? new Set<string>();
    waiting.set(connection, pairs.add(pair));
    connection.after(delayMs, () => {
      pairs.delete(pair);
      mesh(connection);
    });
  };
  const mesh = (connection: Connection): void => {
    for (const remote of remotesOf(connection))
      for (const local of localsFor(connection, remote, options)) add(connection, local, remote);
  };

  return controller({
    name: "fullmesh",
    filter: ({ serverSide }) => !serverSide,
    established(connection) {
      waiting.delete(connection);
      mesh(connection);
    },
    addressAnnounced: (_address, connection) => mesh(connection),
    subflowEstablished(subflow, connection) {
      if (isStranded(subflow)) connection.removeSubflow(subflow);
    },
    subflowClosed({ error, removed, local, remote }, connection) {
      if (removed || error === undefined) return;
      retry(connection, local.address, remote, waitMs[error] ?? unreachableMs);
    },
    localAddressAdded(_address, { connections }) {
      for (const one of connections) if (!one.serverSide && one.established) one.after(settleMs, () => mesh(one));
    },
    localAddressRemoved({ address }, { connections }) {
      for (const one of connections) {
        if (one.serverSide) continue;
        leave(one, address);
        // What failed from there says nothing of the time when it is back.
        waiting.delete(one);
      }
    },
  });
};
