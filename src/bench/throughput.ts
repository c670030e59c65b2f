/** What a chain costs a transfer: MPTCP over two unshaped links, in turn without and with a chain that sees every packet. */
import { setTimeout as sleep } from "node:timers/promises";
import { ActorChain, PolicyChain, SelectorChain } from "../chain/index.ts";
import { connectHosts, createLab, watchSteal, type Lab } from "../lab/index.ts";
import { median } from "../lab/measure/programs.ts";

const transferMs = 1500;
const warmUpMs = 300;
const rounds = 11;
/** Percent of the machine's time that others may have taken during a transfer. */
const stealLimit = 3;

export interface Throughput {
  /** Median Mbit/s with and without the chain. */
  readonly withChain: number;
  readonly without: number;
  /** Median over the rounds of one by the other: rounds differ more than the two of a round do. */
  readonly ratio: number;
  readonly disturbed: number;
}

export async function measureThroughput(): Promise<Throughput> {
  const lab = await createLab({
    hosts: { client: {}, server: { endpoints: "signal" } },
    links: [
      { name: "first", between: ["client", "server"] },
      { name: "second", between: ["client", "server"] },
    ],
  });
  try {
    return await alternate(lab);
  } finally {
    await lab.close();
  }
}

async function alternate(lab: Lab): Promise<Throughput> {
  const quiet: [number, number][] = [];
  const disturbed: [number, number][] = [];
  while (quiet.length < rounds && quiet.length + disturbed.length < 2 * rounds) {
    const stolen = watchSteal();
    // Each goes first in every other round: what drifts meanwhile favours neither.
    const chainFirst = (quiet.length + disturbed.length) % 2 === 1;
    const before = chainFirst ? undefined : await transfer(lab);
    const withChain = await transferThroughChain(lab);
    const without = before ?? (await transfer(lab));
    (stolen() > stealLimit ? disturbed : quiet).push([withChain, without]);
  }
  const kept = quiet.length >= 3 ? quiet : [...quiet, ...disturbed];
  return {
    withChain: median(kept.map(([value]) => value)),
    without: median(kept.map(([, value]) => value)),
    ratio: median(kept.map(([one, other]) => one / other)),
    disturbed: disturbed.length,
  };
}

async function transferThroughChain(lab: Lab): Promise<number> {
  const chain = recordEverything(lab).submit();
  try {
    const mbit = await transfer(lab);
    if (chain.counters().seen === 0) throw new Error("Cannot measure throughput: the chain saw no packet");
    return mbit;
  } finally {
    chain.remove();
  }
}

function recordEverything(lab: Lab): PolicyChain {
  const { netns } = lab.host("client");
  const interfaces = lab.host("client").interfaces.map(({ link }) => link);
  return new PolicyChain(new SelectorChain(), new ActorChain().add("record"), {
    name: `bench-${lab.runId}`,
    interfaces,
    netns,
  });
}

/** Mbit/s received, once the transfer is under way. Nothing is hashed: the processor is for the packets. */
async function transfer(lab: Lab): Promise<number> {
  const connection = await connectHosts(lab);
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
    await sleep(transferMs);
    return ((received - before) * 8) / 1000 / (performance.now() - start);
  } finally {
    connection.close();
  }
}
