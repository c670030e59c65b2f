import { controller } from "../controller.ts";
import type { Connection } from "../types.ts";
import { addressOn, isThere, open } from "./pairs.ts";

export type BackupOptions = {
  /** Name of the interface that is kept for bad times. */
  readonly interface: string;
  /** A subflow whose retransmission timer is this long is given up. Default 1000. */
  readonly thresholdMs?: number;
};

/** Until the first path is tried again, where neither is left. */
const retryMs = 1000;

const hasNone = ({ subflows, pending }: Connection): boolean => subflows.length + pending.length === 0;

/**
 * Nothing over the backup interface, not even a handshake, until the retransmission timer of a subflow passes a threshold; then
 * one is opened there, and the bad one is closed (section 4.2 of the SMAPP paper). Where a connection has lost all its subflows
 * the two paths are tried in turn, until one holds.
 */
export const backup = ({ interface: name, thresholdMs = 1000 }: BackupOptions) => {
  /** @returns whether the connection has the backup now, or is about to */
  const change = (connection: Connection, from: string): boolean => {
    const local = addressOn(connection, name);
    if (!local || local.address === from) return false;
    return isThere(connection, local.address, connection.remote) || open(connection, { local }) === undefined;
  };
  /** Without a subflow no timer tells of anything. */
  const recover = (connection: Connection, from: string): void => {
    if (!hasNone(connection) || change(connection, from)) return;
    connection.after(retryMs, () => {
      if (hasNone(connection) && open(connection, {}) !== undefined) recover(connection, connection.local.address);
    });
  };
  return controller({
    name: "backup",
    filter: ({ serverSide }) => !serverSide,
    timeout(subflow, rtoMs, connection) {
      if (rtoMs < thresholdMs || !change(connection, subflow.local.address)) return;
      connection.removeSubflow(subflow);
    },
    subflowClosed({ error, local }, connection) {
      if (error !== undefined) recover(connection, local.address);
    },
  });
};
