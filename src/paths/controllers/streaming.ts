import { controller } from "../controller.ts";
import type { Connection, Subflow } from "../types.ts";
import { isThere, localsFor, type OnInterfaces } from "./pairs.ts";

export type StreamingOptions = OnInterfaces & {
  /** How long after the start of a block its progress is looked at. Default 500. */
  readonly checkMs?: number;
  /** What the peer must have acknowledged of the block by then. Default 32 KiB. */
  readonly leastBytes?: number;
  /** A subflow whose retransmission timer is this long is closed. Default 1000. */
  readonly thresholdMs?: number;
};

/** How often is looked what the application has written and the peer acknowledged. */
const lookMs = 50;

type Block = {
  /** Number of its first byte. */
  readonly start: bigint;
  readonly atMs: number;
  /** Those that were there when it began. */
  readonly subflows: ReadonlySet<Subflow>;
};

/** A subflow from an address that has none. */
function help(connection: Connection, on: OnInterfaces): void {
  const isFree = ({ address }: { address: string }) => !isThere(connection, address, connection.remote);
  const local = localsFor(connection, connection.remote, on).find(isFree);
  if (local) connection.createSubflow({ local });
}

const count = ({ subflows, pending }: Connection) => subflows.length + pending.length;

/**
 * What a late block waits for, the longest timer first: subflows that retransmit in vain; those that are busy while nothing is
 * acknowledged for two of their round trips; those that are busy while one that was there when the block began is not.
 */
function holdingUp({ subflows }: Connection, block: Block, silentMs: number): Subflow[] {
  const all = subflows.flatMap((subflow) => {
    const tcp = subflow.info()?.tcp;
    return tcp ? [{ subflow, tcp, isBusy: tcp.unacked + tcp.notsentBytes > 0 }] : [];
  });
  const isIdle = all.some(({ subflow, isBusy }) => !isBusy && block.subflows.has(subflow));
  return all
    .filter(({ isBusy }) => isBusy)
    .filter(({ tcp }) => isIdle || tcp.backoff > 0 || silentMs > lookMs + (2 * tcp.rttUs) / 1000)
    .sort((a, b) => b.tcp.rtoUs - a.tcp.rtoUs)
    .map(({ subflow }) => subflow);
}

/**
 * For senders of one block every so often, each of which is to arrive before the next: one subflow as long as it suffices;
 * another when a block is late half-way through; none that a late block waits for, since what a closed subflow has not brought
 * over leaves by the others at once (section 4.3 of the SMAPP paper, which closes by the timer alone). A block begins when the
 * application writes after a time in which it did not.
 */
export const streaming = (options: StreamingOptions = {}) => {
  const { checkMs = 500, leastBytes = 32 * 1024, thresholdMs = 1000 } = options;
  return controller({
    name: "streaming",
    filter: ({ serverSide }) => !serverSide,
    established(connection) {
      let block: Block | undefined;
      let before = connection.info();
      let [isWriting, ackedAtMs] = [false, 0];
      connection.every(lookMs, () => {
        const info = connection.info();
        if (!info) return;
        const { writeSeq, sndUna } = before ?? info;
        const nowMs = performance.now();
        const hasWritten = info.writeSeq !== writeSeq;
        if (hasWritten && !isWriting)
          block = { start: writeSeq, atMs: nowMs - lookMs, subflows: new Set(connection.subflows) };
        if (info.sndUna !== sndUna) ackedAtMs = nowMs;
        [before, isWriting] = [info, hasWritten];
        if (!block || !info.unackedBytes || nowMs < block.atMs + checkMs) return;
        const held = holdingUp(connection, block, nowMs - ackedAtMs);
        if (held.length > 0 || BigInt.asIntN(64, info.sndUna - block.start) < leastBytes) help(connection, options);
        for (const subflow of held) if (connection.subflows.length > 1) connection.removeSubflow(subflow);
      });
    },
    timeout(subflow, rtoMs, connection) {
      if (rtoMs < thresholdMs) return;
      if (count(connection) < 2) help(connection, options);
      if (count(connection) > 1) connection.removeSubflow(subflow);
    },
    subflowClosed(_subflow, connection) {
      if (count(connection) === 0) help(connection, options);
    },
  });
};
