/** Short flows: a client asks, a server answers with so many bytes, each time on a connection of its own. */
import { createHash, randomBytes } from "node:crypto";
import type net from "node:net";
import type { Lab } from "../lab.ts";
import { connectHosts, type ConnectionOptions } from "./connection.ts";

export type RequestResponseOptions = ConnectionOptions & {
  /** Flows in all. */
  readonly count: number;
  readonly requestBytes?: number;
  readonly responseBytes: number;
  /** Flows at the same time; 1 unless said otherwise. */
  readonly concurrency?: number;
  readonly onFlow?: (flow: Flow) => void;
};

export type Flow = {
  /** From the opening of the connection to the last byte of the answer. */
  readonly completionMs: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
  /** Request and answer arrived unchanged. */
  readonly ok: boolean;
};

export type RequestResponseResult = {
  readonly flows: readonly Flow[];
  readonly medianMs: number;
  readonly p95Ms: number;
  readonly ok: boolean;
};

/** Runs all flows. @throws SystemCallError when a connection cannot be opened. */
export async function requestResponse(lab: Lab, options: RequestResponseOptions): Promise<RequestResponseResult> {
  const flows: Flow[] = [];
  let started = 0;
  const lane = async () => {
    while (started++ < options.count) {
      const flow = await runFlow(lab, options);
      flows.push(flow);
      options.onFlow?.(flow);
    }
  };
  await Promise.all(Array.from({ length: options.concurrency ?? 1 }, lane));
  const times = flows.map((flow) => flow.completionMs).sort((a, b) => a - b);
  return {
    flows,
    medianMs: percentile(times, 50),
    p95Ms: percentile(times, 95),
    ok: flows.every((flow) => flow.ok),
  };
}

async function runFlow(lab: Lab, options: RequestResponseOptions): Promise<Flow> {
  const request = randomBytes(options.requestBytes ?? 100);
  const response = randomBytes(options.responseBytes);
  const startedAt = performance.now();
  const connection = await connectHosts(lab, options);
  const { client, server } = connection;
  try {
    const served = receiveAll(server, request.length).then((received) => {
      server.end(response);
      return received;
    });
    // Not closed yet: the kernel adds no subflow to a connection of which one end is closed.
    client.write(request);
    const [requestHash, responseHash] = await Promise.all([served, receiveAll(client)]);
    return {
      completionMs: performance.now() - startedAt,
      requestBytes: request.length,
      responseBytes: response.length,
      ok: requestHash === hashOf(request) && responseHash === hashOf(response),
    };
  } finally {
    connection.close();
  }
}

/** The hash of all that comes until the peer has said that it is all, or until `bytes` have come. */
function receiveAll(socket: net.Socket, bytes = Infinity): Promise<string> {
  return new Promise((resolve, reject) => {
    const hash = createHash("sha256");
    let received = 0;
    const finish = () => resolve(hash.digest("hex"));
    socket.on("data", (data: Buffer) => {
      hash.update(data);
      received += data.length;
      if (received >= bytes) finish();
    });
    if (bytes === Infinity) socket.once("end", finish);
    socket.on("error", reject);
    socket.once("close", () => reject(new Error("The connection was closed before all data had arrived")));
  });
}

function hashOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** The smallest of sorted values that is not exceeded by `percent` of them; NaN of nothing. */
export function percentile(sorted: readonly number[], percent: number): number {
  return sorted.length === 0 ? NaN : sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)];
}
