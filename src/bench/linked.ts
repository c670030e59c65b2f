/** What linking costs next to fusing: the same chain in both modes on the same packet, and the share of each tail call. */
import { timePrograms } from "../lab/measure/programs.ts";
import { benchChains, type BenchChain, type BenchHook } from "./chains.ts";
import { timedPacket } from "./packets.ts";
import { loadChain } from "./pair.ts";
import { rounded, type PacketRow } from "./report.ts";

/** By what they do in C: the others differ only in what their selector looks up. */
export const linkedChains = benchChains.filter(({ baseline }) =>
  ["one_one", "one_three", "four_four"].includes(baseline),
);

/** Programs that the timed packet, which matches, is handed to: the selectors, the actors and the end. */
function hops({ selectors, actors }: BenchChain): number {
  const { expression } = selectors;
  return (expression.op === "and" ? expression.terms.length : 1) + actors.entries.length + 1;
}

/**
 * A row whose measured side is the linked chain and whose baseline is the fused one.
 * @param title names the hook
 */
export function timeLinked(chain: BenchChain, hook: BenchHook, title: string): PacketRow {
  const linked = loadChain(chain, hook, "linked");
  try {
    const fused = loadChain(chain, hook);
    try {
      const [mine, baseline] = timePrograms([linked.program, fused.program], timedPacket).nsPerPacket;
      const perHopNs = (mine - baseline) / hops(chain);
      return {
        name: `${chain.name}, ${title}, linked against fused (${perHopNs.toFixed(1)} ns a hop)`,
        nsPerPacket: rounded(mine, 2),
        baseline: rounded(baseline, 2),
        ratio: rounded(mine / baseline, 3),
      };
    } finally {
      fused.close();
    }
  } finally {
    linked.close();
  }
}
