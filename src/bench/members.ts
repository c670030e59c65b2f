/** How long it takes to change the members of a set in a running chain. */
import { createLab } from "../lab/index.ts";
import { median } from "../lab/measure/programs.ts";
import { benchChains, policyChain, setSize } from "./chains.ts";

const rounds = 5;
const changes = 2000;

export interface MemberDurations {
  /** Median for adding all members at once, to a set that has none. */
  readonly addAllMs: number;
  /** Mean for changing the parameter of one, among all the others. */
  readonly changeOneMs: number;
}

export async function measureMembers(): Promise<MemberDurations> {
  const chain = benchChains.find(({ set }) => set)!;
  const members = chain.set!.members;
  const lab = await createLab({ hosts: { a: {}, b: {} }, links: [{ name: "link", between: ["a", "b"] }] });
  const options = { name: `bench-${lab.runId}`, interfaces: ["link"], netns: lab.host("a").netns };
  const running = policyChain(chain, "tcx_ingress", options).submit();
  try {
    const set = running.members();
    const addAllMs = Array.from({ length: rounds }, () => {
      set.replace([]);
      return elapsedMs(() => set.add(members));
    });
    const elapsed = elapsedMs(() => {
      for (let i = 0; i < changes; i++) set.update([{ ...members[(i * 7919) % setSize], flip: i % 100 }]);
    });
    return { addAllMs: median(addAllMs), changeOneMs: elapsed / changes };
  } finally {
    running.remove();
    await lab.close();
  }
}

function elapsedMs(work: () => void): number {
  const start = performance.now();
  work();
  return performance.now() - start;
}
