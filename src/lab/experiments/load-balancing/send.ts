/** One file sent from a client to its server, while controllers run on the client. */
import { controller, runControllers, type Controller } from "../../../paths/index.ts";
import type { Lab } from "../../lab.ts";
import { readLinkCounters, samplePaths } from "../../measure/counters.ts";
import { megabits, startTransfer } from "../../workload/transfer.ts";
import { pathMbit, type Place } from "./place.ts";

export interface Sent {
  readonly seconds: number;
  /** What the busiest path carried, headers and all. */
  readonly busiestMbit: number;
  /** Of all bytes on the paths, in percent, in the order of the paths. */
  readonly pathPercent: readonly number[];
  /** How many paths carried data at a time: the mean of all half-seconds. */
  readonly busyPaths: number;
  /** Subflows that there ever were, the first one included. */
  readonly subflows: number;
  /** What the paths carried, headers and all, for each byte of the file. */
  readonly carriedPerByte: number;
  readonly ok: boolean;
}

const sampleMs = 500;
/** A path whose load is below this is idle: what is left of subflows that close. */
const idleMbit = 0.1 * pathMbit;

export async function send(lab: Lab, place: Place, chosen: Controller, bytes: number): Promise<Sent> {
  const { client, server, address, paths } = place;
  const joined = new Map<number, number>();
  const count = controller({
    name: "count",
    // By connection: the one before may not be gone yet.
    subflowEstablished: (_, { token }) => void joined.set(token, (joined.get(token) ?? 0) + 1),
  });
  const { netns } = lab.host(client);
  const failures: string[] = [];
  const run = await runControllers([count, chosen], {
    netns,
    failed: (failure) => failures.push(String(failure.error)),
  });
  try {
    const carried = () => paths.map((name) => readLinkCounters(lab)[name].forward.sent.bytes);
    const transfer = await startTransfer(lab, { client, server, address, direction: "upload", bytes });
    const { token } = transfer.info();
    const startedAt = performance.now();
    // What the transfer before left in the queues is on its way, perhaps.
    const before = carried();
    const busy: number[] = [];
    const stop = samplePaths(lab, sampleMs, ({ mbit }) =>
      busy.push(paths.filter((name) => mbit[name].forward > idleMbit).length),
    );
    try {
      const { elapsedMs, ok } = await transfer.done;
      const grown = carried().map((value, i) => value - before[i]);
      const watchedMs = performance.now() - startedAt;
      const all = grown.reduce((sum, value) => sum + value, 0);
      lab.check();
      if (failures.length > 0) throw new Error(`A controller failed: ${failures.join("; ")}`);
      return {
        seconds: elapsedMs / 1000,
        busiestMbit: megabits(Math.max(...grown), watchedMs),
        pathPercent: grown.map((value) => (100 * value) / all),
        busyPaths: busy.reduce((sum, value) => sum + value, 0) / Math.max(1, busy.length),
        subflows: 1 + (joined.get(token) ?? 0),
        carriedPerByte: all / bytes,
        ok,
      };
    } finally {
      stop();
      transfer.abort();
    }
  } finally {
    run.close();
  }
}
