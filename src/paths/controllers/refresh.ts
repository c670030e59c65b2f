import { controller } from "../controller.ts";
import type { Connection, Subflow } from "../types.ts";

export type RefreshOptions = {
  /** That carry data, of each connection, the first one included. Default 5. */
  readonly subflows?: number;
  /** How often the slowest is replaced. Default 2500. */
  readonly periodMs?: number;
};

/** Of subflows that kernels take, beside the first one. */
const limit = 8;

/** Bytes that a subflow has carried, either way. */
function bytesOf(subflow: Subflow): number {
  const tcp = subflow.info()?.tcp;
  return tcp === undefined ? 0 : tcp.bytesAcked + tcp.bytesReceived;
}

const inUse = ({ subflows }: Connection) => subflows.filter(({ backup }) => !backup);
const replaced = ({ subflows }: Connection) => subflows.filter(({ backup }) => backup);

function closeReplaced(connection: Connection): void {
  for (const one of replaced(connection)) connection.removeSubflow(one);
}

/**
 * Several subflows between the same two addresses, the slowest of which is replaced again and again by one from another port: in
 * the end all paths that routers spread flows over are in use (section 4.4 of the SMAPP paper). While nothing is sent all stay.
 *
 * Closing a subflow makes the kernel send again whatever any subflow has under way (`__mptcp_retransmit_pending_data`,
 * net/mptcp/protocol.c). So the slowest becomes a backup, which costs nothing, and is closed with others when there are many.
 */
export const refresh = ({ subflows = 5, periodMs = 2500 }: RefreshOptions = {}) => {
  const bytesBefore = new WeakMap<Subflow, number>();

  const fillUp = (connection: Connection): void => {
    const missing = subflows - inUse(connection).length - connection.pending.length;
    for (let i = 0; i < missing; i++) connection.createSubflow();
  };

  const replaceSlowest = (connection: Connection): void => {
    if (replaced(connection).length + subflows >= limit) closeReplaced(connection);
    const used = inUse(connection).map((subflow) => {
      const bytes = bytesOf(subflow);
      const since = bytes - (bytesBefore.get(subflow) ?? 0);
      bytesBefore.set(subflow, bytes);
      return { subflow, since };
    });
    if (used.length >= subflows && used.some(({ since }) => since > 0))
      connection.setBackup(used.reduce((least, next) => (next.since < least.since ? next : least)).subflow, true);
    fillUp(connection);
  };

  return controller({
    name: "refresh",
    filter: ({ serverSide }) => !serverSide,
    established(connection) {
      fillUp(connection);
      connection.every(periodMs, () => replaceSlowest(connection));
    },
    subflowClosed({ removed }, connection) {
      // The peer takes fewer than the kernel would, perhaps: those that were replaced make room.
      if (removed || replaced(connection).length === 0) return;
      closeReplaced(connection);
      connection.after(periodMs / 10, () => fillUp(connection));
    },
  });
};
