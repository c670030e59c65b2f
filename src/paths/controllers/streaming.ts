import { controller } from "../controller.ts";
import type { Connection } from "../types.ts";
import { isThere, localsFor } from "./pairs.ts";

export type StreamingOptions = {
  /** How long after the start of a block its progress is looked at. Default 500. */
  readonly checkMs?: number;
  /** What the peer must have acknowledged of the block by then. Default 32 KiB. */
  readonly leastBytes?: number;
  /** A subflow whose retransmission timer is this long is closed. Default 1000. */
  readonly thresholdMs?: number;
};

/** How often is looked whether the application has begun another block. */
const lookMs = 50;

/** A subflow from an address that has none. */
function help(connection: Connection): void {
  const isFree = ({ address }: { address: string }) => !isThere(connection, address, connection.remote);
  const local = localsFor(connection, connection.remote).find(isFree);
  if (local) connection.createSubflow({ local });
}

/**
 * For senders of one block every so often, each of which is to arrive before the next: one subflow as long as it suffices;
 * another when a block is late half-way through; none whose retransmission timer has grown so long that a block would wait for it
 * (section 4.3 of the SMAPP paper). A block begins when the application writes after a time in which it did not.
 */
export const streaming = ({ checkMs = 500, leastBytes = 32 * 1024, thresholdMs = 1000 }: StreamingOptions = {}) =>
  controller({
    name: "streaming",
    filter: ({ serverSide }) => !serverSide,
    established(connection) {
      let written = connection.info()?.writeSeq ?? 0n;
      let isWriting = false;
      const check = (start: bigint) => {
        const info = connection.info();
        if (info?.unackedBytes && BigInt.asIntN(64, info.sndUna - start) < leastBytes) help(connection);
      };
      connection.every(lookMs, () => {
        const now = connection.info()?.writeSeq ?? written;
        const start = written;
        if (now !== written && !isWriting) connection.after(checkMs - lookMs, () => check(start));
        isWriting = now !== written;
        written = now;
      });
    },
    timeout(subflow, rtoMs, connection) {
      if (rtoMs < thresholdMs) return;
      if (connection.subflows.length + connection.pending.length < 2) help(connection);
      if (connection.subflows.length + connection.pending.length > 1) connection.removeSubflow(subflow);
    },
  });
