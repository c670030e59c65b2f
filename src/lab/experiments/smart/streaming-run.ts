/** Blocks sent one every second over a path that loses some of their packets: when each of them has arrived. */
import { setTimeout as sleep } from "node:timers/promises";
import { streaming } from "../../../paths/index.ts";
import { createLab, type Lab } from "../../lab.ts";
import { readMptcpCounters } from "../../measure/counters.ts";
import { connectHosts } from "../../workload/connection.ts";
import { addEndpoint, first, phone, serverAddress, withController } from "./place.ts";

export const sides = ["kernel", "controller"] as const;
export type Side = (typeof sides)[number];

export interface StreamingPlan {
  /** What the first path loses, each way. */
  readonly lossPercents: readonly number[];
  /** Blocks of a connection before anything is lost, and from then on. */
  readonly goodBlocks: number;
  readonly badBlocks: number;
  /** One after the other; all losses and sides at the same time. */
  readonly connections: number;
}

export const blockBytes = 64 * 1024;
const periodMs = 1000;

export interface Stream {
  /** From writing a block to the arrival of its last byte, in ms. */
  readonly goodMs: readonly number[];
  readonly badMs: readonly number[];
  /** Subflows that the client asked for while nothing was lost, and from then on. */
  readonly goodJoins: number;
  readonly badJoins: number;
  /** Every byte arrived in its place. */
  readonly ok: boolean;
}

/** Each block has its own byte: what arrives in the wrong place is seen. */
const blockOf = (index: number) => Buffer.alloc(blockBytes, index % 251);

async function stream(lab: Lab, plan: StreamingPlan, lossPercent: number): Promise<Stream> {
  const joins = () => readMptcpCounters(lab, "client")["MPJoinSynTx"] ?? 0;
  const before = joins();
  const { client, server, close } = await connectHosts(lab, { address: serverAddress });
  try {
    const total = plan.goodBlocks + plan.badBlocks;
    const [writtenMs, delaysMs]: [number[], number[]] = [[], []];
    let [received, ok] = [0, true];
    const done = new Promise<void>((resolve, reject) => {
      for (const one of [client, server]) {
        one.on("error", reject);
        one.once("close", () => reject(new Error(`The stream was cut off after ${received} bytes`)));
      }
      server.on("data", (data: Buffer) => {
        for (let at = 0; at < data.length;) {
          const index = Math.floor(received / blockBytes);
          const length = Math.min(data.length - at, blockBytes * (index + 1) - received);
          ok &&= data.subarray(at, at + length).every((byte) => byte === index % 251);
          [at, received] = [at + length, received + length];
          if (received === blockBytes * (index + 1)) delaysMs.push(performance.now() - writtenMs[index]);
        }
        if (received === blockBytes * total) resolve();
      });
    });
    done.catch(() => {});
    let goodJoins = 0;
    for (let index = 0; index < total; index++) {
      if (index > 0) await sleep(periodMs);
      if (index === plan.goodBlocks) {
        goodJoins = joins() - before;
        await lab.setLink(first, { lossPercent });
      }
      writtenMs.push(performance.now());
      client.write(blockOf(index));
    }
    await done;
    lab.check();
    const [goodMs, badMs] = [delaysMs.slice(0, plan.goodBlocks), delaysMs.slice(plan.goodBlocks)];
    return { goodMs, badMs, goodJoins, badJoins: joins() - before - goodJoins, ok };
  } finally {
    close();
    await lab.setLink(first, { lossPercent: 0 });
  }
}

export async function runStreams(
  plan: StreamingPlan,
  side: Side,
  lossPercent: number,
  progress: (stream: Stream) => void,
): Promise<Stream[]> {
  await using lab = await createLab(phone(side === "kernel" ? "kernel" : "userspace"));
  const all = async () => {
    const streams: Stream[] = [];
    while (streams.length < plan.connections) {
      const one = await stream(lab, plan, lossPercent);
      progress(one);
      streams.push(one);
    }
    return streams;
  };
  if (side === "controller") return await withController(lab, streaming(), all);
  addEndpoint(lab, "fullmesh");
  return await all();
}
