/** What a transfer's receiver got, by path, over a stretch of time. */
import { setTimeout as sleep } from "node:timers/promises";
import { megabits, type Lab, type Transfer } from "../../lab/index.ts";

/** Mbit/s of payload that arrived in order. */
export interface Goodput {
  readonly total: number;
  /** By link, in the order of the links; a link without a subflow carries 0. */
  readonly paths: Readonly<Record<string, number>>;
}

interface Reading {
  readonly atMs: number;
  readonly bytes: number;
  readonly paths: Readonly<Record<string, number>>;
}

function read(lab: Lab, transfer: Transfer): Reading {
  const { subflows } = transfer.receiverInfo();
  const paths = lab.host("client").interfaces.map(({ link, ipv4 }) => {
    const own = subflows.filter(({ local }) => local.address === ipv4);
    return [link, own.reduce((sum, { tcp }) => sum + tcp.bytesReceived, 0)] as const;
  });
  return { atMs: performance.now(), bytes: transfer.receivedBytes, paths: Object.fromEntries(paths) };
}

function between(before: Reading, after: Reading): Goodput {
  const elapsedMs = after.atMs - before.atMs;
  const paths = Object.entries(after.paths).map(
    ([link, bytes]) => [link, megabits(bytes - (before.paths[link] ?? 0), elapsedMs)] as const,
  );
  return { total: megabits(after.bytes - before.bytes, elapsedMs), paths: Object.fromEntries(paths) };
}

const sampleMs = 500;

/** Watches a transfer for `durationMs`; `onSample` hears twice a second what it carries at the moment. */
export async function watchGoodput(
  lab: Lab,
  transfer: Transfer,
  durationMs: number,
  onSample: (now: Goodput) => void,
): Promise<Goodput> {
  const first = read(lab, transfer);
  let last = first;
  while (last.atMs - first.atMs < durationMs) {
    await sleep(Math.min(sampleMs, Math.max(1, durationMs - (last.atMs - first.atMs))));
    lab.check();
    const now = read(lab, transfer);
    onSample(between(last, now));
    last = now;
  }
  return between(first, last);
}

const attempts = 3;

/** Measures, and once more where it does not hold yet, as on a machine whose time others take; three times at most. */
export async function measureSettled<T extends { readonly ok: boolean }>(measure: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const result = await measure();
    if (result.ok || attempt === attempts) return result;
  }
}
