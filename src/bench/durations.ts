/** How long it takes to compile a chain, and to submit one. */
import { createLab } from "../lab/index.ts";
import { benchChains, policyChain } from "./chains.ts";
import { median } from "../lab/measure/programs.ts";

const rounds = 15;

export interface Durations {
  /** Of the first compilation in this process, and the median of later ones. */
  readonly firstCompileMs: number;
  readonly compileMs: number;
  /** Median from `submit()` to a chain that is attached and pinned. */
  readonly submitMs: number;
}

/** All for the largest chain, on tc ingress of one interface. Call it before anything else is compiled. */
export async function measureDurations(): Promise<Durations> {
  const chain = benchChains.at(-1)!;
  const compile = (): number => elapsedMs(() => policyChain(chain, "tcx_ingress").compile());
  const firstCompileMs = compile();
  const compileMs = median(Array.from({ length: rounds }, compile));
  const lab = await createLab({ hosts: { a: {}, b: {} }, links: [{ name: "link", between: ["a", "b"] }] });
  try {
    const name = `bench-${lab.runId}`;
    const submit = (): number => {
      const submitted = policyChain(chain, "tcx_ingress", { name, interfaces: ["link"], netns: lab.host("a").netns });
      const start = performance.now();
      const running = submitted.submit();
      const took = performance.now() - start;
      running.remove();
      return took;
    };
    return { firstCompileMs, compileMs, submitMs: median(Array.from({ length: rounds }, submit)) };
  } finally {
    await lab.close();
  }
}

function elapsedMs(work: () => unknown): number {
  const start = performance.now();
  work();
  return performance.now() - start;
}
