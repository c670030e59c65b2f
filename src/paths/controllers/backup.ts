import { controller } from "../controller.ts";
import type { Connection } from "../types.ts";
import { addressOn, isThere } from "./pairs.ts";

export type BackupOptions = {
  /** Name of the interface that is kept for bad times. */
  readonly interface: string;
  /** A subflow whose retransmission timer is this long is given up. Default 1000. */
  readonly thresholdMs?: number;
};

/**
 * Nothing over the backup interface, not even a handshake, until the retransmission timer of a subflow passes a threshold; then
 * one is opened there, and the bad one is closed (section 4.2 of the SMAPP paper).
 */
export const backup = ({ interface: name, thresholdMs = 1000 }: BackupOptions) => {
  /** @returns whether the connection has the backup now, or is about to */
  const change = (connection: Connection, from: string): boolean => {
    const local = addressOn(connection, name);
    if (!local || local.address === from) return false;
    if (!isThere(connection, local.address, connection.remote)) connection.createSubflow({ local });
    return true;
  };
  return controller({
    name: "backup",
    filter: ({ serverSide }) => !serverSide,
    timeout(subflow, rtoMs, connection) {
      if (rtoMs < thresholdMs || !change(connection, subflow.local.address)) return;
      connection.removeSubflow(subflow);
    },
    subflowClosed({ error, local }, connection) {
      if (error !== undefined && connection.subflows.length === 0) change(connection, local.address);
    },
  });
};
