import { controller } from "../controller.ts";
import type { Connection, Subflow } from "../types.ts";

export type RefreshOptions = {
  /** That carry data, of each connection, the first one included. Default 5. */
  readonly subflows?: number;
  /** How often the slowest is replaced. Default 2500. */
  readonly periodMs?: number;
};

/**
 * Closing a subflow makes the kernel send again whatever any subflow has under way (`__mptcp_retransmit_pending_data`,
 * net/mptcp/protocol.c). So those that were replaced are backups first, which costs nothing, and so many are closed at once. With
 * five in use and one on its way they are as many as the kernel takes.
 */
const replacedAtMost = 3;

/** Bytes that a subflow has carried, either way. */
function bytesOf(subflow: Subflow): number {
  const tcp = subflow.info()?.tcp;
  return tcp === undefined ? 0 : tcp.bytesAcked + tcp.bytesReceived;
}

/**
 * Several subflows between the same two addresses, the slowest of which is replaced again and again by one from another port: in
 * the end all paths that routers spread flows over are in use (section 4.4 of the SMAPP paper). While nothing is sent all stay.
 */
export const refresh = ({ subflows = 5, periodMs = 2500 }: RefreshOptions = {}) => {
  const bytesBefore = new WeakMap<Subflow, number>();

  const fillUp = (connection: Connection): void => {
    const used = connection.subflows.filter(({ backup }) => !backup);
    const missing = subflows - used.length - connection.pending.length;
    for (let i = 0; i < missing; i++) connection.createSubflow();
  };

  const replaceSlowest = (connection: Connection): void => {
    const used = connection.subflows.filter(({ backup }) => !backup);
    const replaced = connection.subflows.filter(({ backup }) => backup);
    const carried = used.map((subflow) => {
      const bytes = bytesOf(subflow);
      const since = bytes - (bytesBefore.get(subflow) ?? 0);
      bytesBefore.set(subflow, bytes);
      return { subflow, since };
    });
    const isComplete = used.length >= subflows;
    // The peer may take fewer than the kernel would: what is missing was refused, perhaps.
    if (!isComplete || replaced.length >= replacedAtMost) for (const one of replaced) connection.removeSubflow(one);
    // Those on the way would be given up before they had a chance.
    if (isComplete && carried.some(({ since }) => since > 0)) {
      const slowest = carried.reduce((least, next) => (next.since < least.since ? next : least));
      connection.setBackup(slowest.subflow, true);
    }
    fillUp(connection);
  };

  return controller({
    name: "refresh",
    filter: ({ serverSide }) => !serverSide,
    established(connection) {
      fillUp(connection);
      connection.every(periodMs, () => replaceSlowest(connection));
    },
  });
};
