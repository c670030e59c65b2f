/**
 * How long connections wait for their second subflow: many short ones between two hosts of a lab, by whatever path manager
 * runs in the client. Times are the kernel's own, taken when a packet passes the client's interface; nothing is woken by it, and
 * packets are read while nothing is measured, or a few times a second. Client and server are processes of their own.
 *
 * ```ts
 * await using lab = await createLab(joinDelayLab);
 * const manager = await startPathManager(lab, "client", { kind: "kernel", addresses: [secondAddress] });
 * const { delays, missed } = await measureJoinDelays(lab, { count: 1000 });
 * console.log(missed, summarizeDelays(delays.map((one) => one.sinceAcknowledgedUs!)));
 * await manager.stop();
 * ```
 *
 * With `{ kind: "caller" }` the caller runs a path manager itself, e.g. `runControllers([…], { netns: lab.host("client").netns })`.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { openCapture, type SeenPacket } from "../../linux/capture.ts";
import { withNetns } from "../../linux/netns.ts";
import type { Lab } from "../lab.ts";
import { runnableModule } from "../runnable.ts";
import type { LabSpec } from "../spec.ts";
import type { ShortClientOptions, ShortClientResult } from "../workload/short-client.ts";
import { percentile } from "../workload/request-response.ts";
import { JoinCollector, joinFilter, type JoinDelays } from "./join-packets.ts";

export { startPathManager, type PathManagerChoice, type RunningPathManager } from "../workload/path-managers.ts";
export type { JoinDelay, JoinDelays } from "./join-packets.ts";

/** Two links without any delay; connections begin on the first one. */
export const joinDelayLab: LabSpec = {
  hosts: { client: {}, server: {} },
  links: [
    { name: "one", between: ["client", "server"] },
    { name: "two", between: ["client", "server"] },
  ],
};
/** The client's address on the second link, from which the second subflow comes; it goes to the address the first went to. */
export const secondAddress = "10.0.2.1";

export interface JoinDelayOptions {
  /** Connections that are measured. */
  readonly count: number;
  /** Connections before them that do not count: code that runs the first time is not what runs for hours. None unless told. */
  readonly warmUp?: number;
  /** How many begin in a second, at most as many as one process opens one by one; one after the other unless given. */
  readonly perSecond?: number;
  /** Of the server's answer; 1000 unless told. */
  readonly responseBytes?: number;
  /** How long a connection stays open after its answer; 20 ms unless told. */
  readonly holdMs?: number;
  /** How much longer if it has no second subflow by then; after that it counts as missed. 2000 ms unless told. */
  readonly patienceMs?: number;
}

export interface MeasuredJoinDelays extends JoinDelays {
  /** Connections whose answers arrived whole, those of the warm-up included: all of them. */
  readonly answered: number;
  /** Connections begun in a second, as it came out. */
  readonly perSecond: number;
  /** Packets that were not recorded for lack of room: those connections are not counted, or count as missed. */
  readonly droppedPackets: number;
}

const drainMs = 250;
/** Beyond what the connections may take: start of two processes, and stolen time. */
const spareMs = 30_000;

/**
 * Opens connections from "client" to "server" and tells when each got its second subflow. The path manager is the caller's.
 * @throws Error when a connection fails, or the client does not end in time
 */
export async function measureJoinDelays(lab: Lab, options: JoinDelayOptions): Promise<MeasuredJoinDelays> {
  const { warmUp = 0, perSecond, responseBytes = 1000, holdMs = 20, patienceMs = 2000 } = options;
  const count = warmUp + options.count;
  lab.check();
  using server = startProcess(lab, "server", "lab/workload/short-server.ts", []);
  const port = Number(await server.line());
  const [address] = lab.host("server").interfaces.map(({ ipv4 }) => ipv4);
  const work: ShortClientOptions = {
    address,
    port,
    count,
    responseBytes,
    holdMs,
    patienceMs,
    ...(perSecond && { perSecond }),
  };
  // Looked at when all is over: that takes as long as opening a connection.
  const packets: SeenPacket[] = [];
  using capture = openCapture({ netns: lab.host("client").netns, filter: joinFilter });
  const drain = () => {
    for (let packet = capture.read(); packet; packet = capture.read()) packets.push(packet);
  };
  const timer = setInterval(drain, drainMs);
  try {
    using client = startProcess(lab, "client", "lab/workload/short-client.ts", [JSON.stringify(work)]);
    const eachMs = perSecond === undefined ? 50 + holdMs + patienceMs : 10 + 1000 / perSecond;
    const timeoutMs = spareMs + patienceMs + count * eachMs;
    const result = JSON.parse(await client.line(timeoutMs)) as ShortClientResult;
    drain();
    lab.check();
    if (result.failure !== undefined)
      throw new Error(`Only ${result.answered} of ${count} connections were answered: ${result.failure}`);
    const collector = new JoinCollector();
    for (const packet of packets) collector.take(packet);
    return {
      ...collector.result(warmUp),
      answered: result.answered,
      perSecond: (1000 * count) / result.elapsedMs,
      droppedPackets: capture.dropped(),
    };
  } finally {
    clearInterval(timer);
  }
}

/** Runs a module in a host's namespace until disposed, or the lab closes. */
function startProcess(lab: Lab, host: string, module: string, args: readonly string[]) {
  const entry = runnableModule(module);
  const child: ChildProcess = withNetns(lab.host(host).netns, () =>
    spawn(process.execPath, [entry, ...args], { stdio: ["ignore", "pipe", "pipe"], env: {} }),
  );
  let said = "";
  child.stderr!.on("data", (data: Buffer) => (said = (said + data.toString()).slice(-4000)));
  const forget = lab.whenClosed(() => child.kill("SIGKILL"));
  /** The first line that it prints. */
  const line = async (timeoutMs = spareMs) =>
    await new Promise<string>((resolve, reject) => {
      let text = "";
      const fail = (reason: string) => {
        clearTimeout(timer);
        reject(new Error(`Cannot run ${module} on ${host}: ${reason}; ${said.trim()}`));
      };
      const timer = setTimeout(() => fail(`no result after ${timeoutMs / 1000} s`), timeoutMs);
      child.stdout!.on("data", (data: Buffer) => {
        text += data.toString();
        if (!text.includes("\n")) return;
        clearTimeout(timer);
        resolve(text.slice(0, text.indexOf("\n")));
      });
      child.on("error", (error) => fail(error.message));
      child.on("close", (code, signal) => fail(`exit code ${code}, signal ${signal}`));
    });
  const stop = () => {
    forget();
    child.kill("SIGKILL");
  };
  return { line, [Symbol.dispose]: stop };
}

export interface DelaySummary {
  readonly count: number;
  readonly meanUs: number;
  readonly medianUs: number;
  readonly p90Us: number;
  readonly p99Us: number;
}

/** @throws RangeError of nothing */
export function summarizeDelays(values: readonly number[]): DelaySummary {
  if (values.length === 0) throw new RangeError("Cannot summarize delays: there are none");
  const sorted = values.toSorted((a, b) => a - b);
  return {
    count: sorted.length,
    meanUs: sorted.reduce((sum, value) => sum + value, 0) / sorted.length,
    medianUs: percentile(sorted, 50),
    p90Us: percentile(sorted, 90),
    p99Us: percentile(sorted, 99),
  };
}
