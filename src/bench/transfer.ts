/** The transfer that benchmarks measure: MPTCP over two unshaped links, as fast as it goes. */
import { setTimeout as sleep } from "node:timers/promises";
import { connectHosts, createLab, type Lab } from "../lab/index.ts";

const warmUpMs = 300;

/** The server sends, the client receives. */
export function createTransferLab(): Promise<Lab> {
  return createLab({
    hosts: { client: {}, server: { endpoints: "signal" } },
    links: [
      { name: "first", between: ["client", "server"] },
      { name: "second", between: ["client", "server"] },
    ],
  });
}

/**
 * Transfers while `measure` runs, once it is under way. Nothing is hashed: the processor is for the packets.
 * @returns what `measure` found, and Mbit/s received meanwhile
 */
export async function whileTransferring<T>(
  lab: Lab,
  measure: () => Promise<T>,
  congestionControl?: string,
): Promise<{ readonly found: T; readonly mbitPerSecond: number }> {
  const connection = await connectHosts(lab, congestionControl === undefined ? {} : { congestionControl });
  const { client, server } = connection;
  const block = new Uint8Array(1 << 18);
  let received = 0;
  client.on("data", (data: Buffer) => {
    received += data.length;
  });
  const pump = (): void => {
    while (server.writable && server.write(block));
  };
  server.on("drain", pump);
  try {
    pump();
    await sleep(warmUpMs);
    const [start, before] = [performance.now(), received];
    const found = await measure();
    return { found, mbitPerSecond: ((received - before) * 8) / 1000 / (performance.now() - start) };
  } finally {
    connection.close();
  }
}
