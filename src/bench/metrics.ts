/** What it takes to read a subflow's metrics: from memory that the kernel writes, and by a system call. */
import { setTimeout as sleep } from "node:timers/promises";
import { openSharedState } from "../chain/host-state.ts";
import { emptcp, MetricsReader, registerInStack } from "../instack/index.ts";
import { connectHosts, createLab } from "../lab/index.ts";
import { median } from "../lab/measure/programs.ts";
import { subflowMetrics } from "../policies/strategies.ts";

const reads = 100_000;
const rounds = 9;
const deadlineMs = 5000;

/** Medians. */
export interface MetricsCost {
  readonly mappedNs: number;
  readonly systemCallNs: number;
}

export async function measureMetrics(): Promise<MetricsCost> {
  const lab = await createLab({
    hosts: { client: {}, server: {} },
    links: [{ name: "link", between: ["client", "server"] }],
  });
  try {
    const running = registerInStack(emptcp, { name: `bench_${process.pid}`, stays: false });
    try {
      const { client, close } = await connectHosts(lab, { congestionControl: running.name });
      client.write(new Uint8Array(1000));
      try {
        return await timeReads();
      } finally {
        close();
      }
    } finally {
      running.remove();
    }
  } finally {
    await lab.close();
  }
}

async function timeReads(): Promise<MetricsCost> {
  using reader = new MetricsReader();
  const deadline = performance.now() + deadlineMs;
  while (reader.read().length === 0) {
    if (performance.now() > deadline) throw new Error("Cannot time reads of metrics: no subflow was measured");
    await sleep(10);
  }
  const [{ token, id }] = reader.read();
  const { map } = openSharedState(subflowMetrics.host!)!;
  try {
    const key = new Uint8Array(4);
    const mapped: number[] = [];
    const systemCall: number[] = [];
    for (let round = 0; round < rounds; round++) {
      mapped.push(perRead(() => reader.subflow(token, id)));
      systemCall.push(perRead(() => map.lookup(key)));
    }
    return { mappedNs: median(mapped), systemCallNs: median(systemCall) };
  } finally {
    map.close();
  }
}

function perRead(read: () => unknown): number {
  const start = process.hrtime.bigint();
  for (let i = 0; i < reads; i++) read();
  return Number(process.hrtime.bigint() - start) / reads;
}
