/** What the number of flows known to a chain costs a packet: programs run on packets of ever different flows. */
import { testRun, type KernelProgram } from "../../../linux/index.ts";
import type { Lab } from "../../lab.ts";
import { median } from "../../measure/programs.ts";
import { attachChain } from "../experiment.ts";
import { addressesOf, chainOfLength, programsOf, type Length } from "./chains.ts";
import { loadEmpty } from "./operations.ts";
import { acknowledgment } from "./packets.ts";

export interface TupleCost {
  readonly flows: number;
  /** Median over the packets, without what an empty program takes; each packet is run once. */
  readonly ns: number;
}

/**
 * Runs the chain, attached to `link`, once on each of at least `least` packets that take turns among so many flows. Between two runs the
 * processor did other things, as it does between real packets: these are times with cold caches.
 */
export function costByTuples(
  lab: Lab,
  link: string,
  length: Length,
  counts: readonly number[],
  least: number,
): TupleCost[] {
  const empty = loadEmpty();
  const chain = chainOfLength(length, addressesOf(lab, link)).with({ direction: "ingress" });
  const { running, detach } = attachChain(lab, "client", "tuples", chain, [link]);
  const [program] = programsOf(running);
  try {
    return counts.map((flows) => {
      const packets = Array.from({ length: flows }, (_, flow) => acknowledgment(flow));
      // The first round makes the flows known.
      runEach(program, packets, flows);
      const rounds = Math.max(flows, least);
      return { flows, ns: runEach(program, packets, rounds) - runEach(empty, packets, rounds) };
    });
  } finally {
    program.close();
    detach();
    empty.close();
  }
}

function runEach(program: KernelProgram, packets: readonly Uint8Array[], rounds: number): number {
  return median(
    Array.from({ length: rounds }, (_, i) => testRun(program, { data: packets[i % packets.length] }).durationNs),
  );
}
