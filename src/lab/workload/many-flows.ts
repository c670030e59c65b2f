/** Many flows at the same time: all connections are open before the first asks; the server is a process of its own. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import type net from "node:net";
import { connectMptcp } from "../../linux/sockets.ts";
import { withNetns } from "../../linux/netns.ts";
import type { Lab } from "../lab.ts";
import { runnableModule } from "../runnable.ts";

export interface AnswerServer {
  readonly port: number;
  readonly stop: () => void;
}

/** Starts the server on a host. It ends when `stop` is called, or with the lab. @throws Error with what it said */
export async function startAnswering(lab: Lab, host: string): Promise<AnswerServer> {
  const entry = runnableModule("lab/workload/answer.ts");
  const child = withNetns(lab.host(host).netns, () =>
    spawn(process.execPath, [entry], { stdio: ["pipe", "pipe", "inherit"], env: {} }),
  ) as ChildProcess;
  const forget = lab.whenClosed(() => child.kill("SIGKILL"));
  const stop = () => {
    forget();
    child.kill("SIGKILL");
  };
  const first = await Promise.race([once(child.stdout!, "data"), once(child, "exit")]);
  const port = Number(String(first[0]));
  if (first[0] instanceof Buffer && port > 0) return { port, stop };
  stop();
  throw new Error(`Cannot start a server on ${host}: it ended, exit code ${String(first[0])}`);
}

export interface ManyFlowsOptions {
  readonly client: string;
  readonly address: string;
  readonly port: number;
  readonly count: number;
  readonly responseBytes: number;
}

export interface ManyFlows {
  /** Of each flow, from its request to the last byte of the answer. */
  readonly completionMs: readonly number[];
  /** From the first request to the last byte of all. */
  readonly elapsedMs: number;
}

/** How many connections are opened at the same time: fewer than the server's backlog. */
const opening = 64;

/** @throws SystemCallError when a connection cannot be opened; Error when an answer is cut off */
export async function runManyFlows(lab: Lab, options: ManyFlowsOptions): Promise<ManyFlows> {
  const { address, port, count, responseBytes } = options;
  const { netns } = lab.host(options.client);
  const sockets: net.Socket[] = [];
  const closeAll = () => sockets.forEach((socket) => socket.destroy());
  const forget = lab.whenClosed(closeAll);
  try {
    let started = 0;
    const lane = async () => {
      while (started++ < count)
        sockets.push(await connectMptcp({ address, port, netns, congestionControl: "cubic", timeoutMs: 30_000 }));
    };
    await Promise.all(Array.from({ length: Math.min(opening, count) }, lane));
    const request = Buffer.alloc(4);
    request.writeUInt32BE(responseBytes);
    const startedAt = performance.now();
    const completionMs = await Promise.all(sockets.map((socket) => ask(socket, request, responseBytes)));
    lab.check();
    return { completionMs, elapsedMs: performance.now() - startedAt };
  } finally {
    forget();
    closeAll();
  }
}

function ask(socket: net.Socket, request: Buffer, responseBytes: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const startedAt = performance.now();
    let received = 0;
    socket.on("data", (data: Buffer) => {
      received += data.length;
      if (received === responseBytes) resolve(performance.now() - startedAt);
    });
    socket.on("error", reject);
    socket.once("close", () => reject(new Error(`An answer was cut off after ${received} of ${responseBytes} bytes`)));
    socket.write(request);
  });
}

/** How many connections this process may have open, some descriptors left for everything else. */
export function connectionLimit(): number {
  const limits = readFileSync("/proc/self/limits", "utf8");
  const soft = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? 1024);
  return Math.max(1, soft - 200);
}
