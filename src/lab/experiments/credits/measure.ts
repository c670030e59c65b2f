/** Parallel downloads over both paths, and what they cost: retransmissions over time, goodput, round trips. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Lab } from "../../lab.ts";
import { readTcpCounters } from "../../measure/counters.ts";
import { median } from "../../measure/programs.ts";
import { bare } from "../../plan.ts";
import { megabits, startTransfer, type Transfer } from "../../workload/transfer.ts";
import { uplinks } from "./place.ts";

/** Little enough to be gone soon after the end. */
const sendBufferBytes = 300_000;
const sampleMs = 250;

export interface Sample {
  /** Segments sent again since the start, all connections together. */
  readonly retransmissions: readonly { readonly seconds: number; readonly count: number }[];
  /** Goodput of all connections from the start to the end. */
  readonly mbit: number;
  /** The least of a connection's goodput over the greatest. */
  readonly evenness: number;
  /** Median of the subflows' smoothed round trips at the end. */
  readonly rttMs: number;
  readonly subflows: number;
  /** Every byte arrived as it was sent. */
  readonly delivered: boolean;
}

const retransmitted = (lab: Lab) => readTcpCounters(lab, "server")["RetransSegs"];

export async function download(lab: Lab, connections: number, seconds: number): Promise<Sample> {
  const address = bare(lab.link(uplinks[0]).ends[0].ipv4);
  const transfers: Transfer[] = [];
  const before = retransmitted(lab);
  const startedAt = performance.now();
  const elapsedSeconds = () => (performance.now() - startedAt) / 1000;
  try {
    const open = async () => {
      transfers.push(await startTransfer(lab, { address, sendBufferBytes }));
    };
    await Promise.all(Array.from({ length: connections }, open));
    const retransmissions = [{ seconds: 0, count: 0 }];
    while (elapsedSeconds() < seconds) {
      await sleep(sampleMs);
      retransmissions.push({ seconds: elapsedSeconds(), count: retransmitted(lab) - before });
    }
    const received = transfers.map(({ receivedBytes }) => receivedBytes);
    const total = received.reduce((sum, bytes) => sum + bytes, 0);
    const mbit = megabits(total, performance.now() - startedAt);
    const subflows = transfers.map((transfer) => transfer.info().subflows);
    lab.check();
    const results = await Promise.all(transfers.map((transfer) => transfer.stop()));
    return {
      retransmissions,
      mbit,
      evenness: Math.min(...received) / Math.max(...received),
      rttMs: median(subflows.flat().map(({ tcp }) => tcp.rttUs)) / 1000,
      subflows: Math.min(...subflows.map(({ length }) => length)),
      delivered: results.every(({ ok }) => ok),
    };
  } finally {
    for (const transfer of transfers) transfer.abort();
  }
}
