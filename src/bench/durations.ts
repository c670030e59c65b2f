/** How long it takes to compile a chain, to load it, to submit it, and to change it while it runs. */
import { ActorChain, PolicyChain, type ChainOptions } from "../chain/index.ts";
import { createLab } from "../lab/index.ts";
import { median } from "../lab/measure/programs.ts";
import { loadCollection } from "../linux/index.ts";
import { benchChains, policyChain, type BenchChain } from "./chains.ts";
import { windowCap } from "./policies.ts";

const rounds = 7;
const changes = 500;

const measured = ["one_one", "one_three", "four_four"];
const placements: Readonly<Record<string, ChainOptions>> = {
  "tc both ways": { hook: "tcx", direction: "both" },
  XDP: { hook: "xdp", direction: "ingress" },
};

/** Medians, in ms. */
export interface ChainDurations {
  /** The chain, and where it is attached. */
  readonly name: string;
  readonly compile: number;
  /** Making maps and loading programs, which the kernel's verifier follows. */
  readonly load: number;
  /** From `submit()` to a chain that is attached and pinned: compiled, loaded, attached. */
  readonly submit: number;
  /** The same chain once more: what was compiled before is loaded and attached. */
  readonly submitAgain: number;
  /** The running chain gets one more actor; then its first one is left out. */
  readonly addActor: number;
  readonly disableActor: number;
  /** One parameter of the running chain; two of them in one step. */
  readonly set: number;
  readonly setTwo: number;
  /** The mean of many changes of a parameter without a pause: now and then one waits until no packet needs an old copy. */
  readonly setInARow: number;
}
type Step = Exclude<keyof ChainDurations, "name">;

export interface Durations {
  /** Of the first compilation in this process: the largest chain on one hook. */
  readonly firstCompileMs: number;
  readonly chains: readonly ChainDurations[];
}

/** For chains of several sizes, in turn. Call it before anything else is compiled. */
export async function measureDurations(say: (what: string) => void): Promise<Durations> {
  const firstCompileMs = elapsedMs(() => policyChain(benchChains.at(-1)!, "tcx_ingress").compile());
  const lab = await createLab({ hosts: { a: {}, b: {} }, links: [{ name: "link", between: ["a", "b"] }] });
  try {
    const where = { name: `bench-${lab.runId}`, interfaces: ["link"], netns: lab.host("a").netns };
    const cases = benchChains
      .filter(({ baseline }) => measured.includes(baseline))
      .flatMap((chain) =>
        Object.entries(placements).map(([title, options]) => ({
          name: `${chain.name}, ${title}`,
          chain: placed(chain, { ...where, ...options }),
          samples: new Map<Step, number[]>(),
        })),
      );
    for (let round = 0; round < rounds; round++) {
      for (const { chain, samples } of cases)
        for (const [step, ms] of Object.entries(await measureOnce(chain, round)) as [Step, number][])
          samples.set(step, [...(samples.get(step) ?? []), ms]);
      say(`round ${round + 1} of ${rounds}`);
    }
    const chains = cases.map(({ name, samples }) => {
      const medians = Object.fromEntries([...samples].map(([step, ms]) => [step, median(ms)]));
      return { name, ...(medians as Record<Step, number>) };
    });
    return { firstCompileMs, chains };
  } finally {
    await lab.close();
  }
}

const placed = ({ selectors, actors }: BenchChain, options: ChainOptions): PolicyChain =>
  new PolicyChain(selectors, actors, options);

/** Under a name of its own in each round: a chain that was compiled before is not compiled again. */
async function measureOnce(placedChain: PolicyChain, round: number): Promise<Record<Step, number>> {
  const named = (name: string) => placedChain.with({ name: `${placedChain.name}-${name}${round}` });
  let compiled!: ReturnType<PolicyChain["compile"]>;
  const compile = elapsedMs(() => (compiled = named("compiled").compile()));
  const start = performance.now();
  const collection = loadCollection(compiled);
  const load = performance.now() - start;
  collection.close();
  const chain = named("");
  let running!: ReturnType<PolicyChain["submit"]>;
  const submit = elapsedMs(() => (running = chain.submit()));
  running.remove();
  const submitAgain = elapsedMs(() => (running = chain.submit()));
  try {
    const actors = new ActorChain(chain.actors.entries).add(windowCap, { window: 20_000, flip: 4 });
    const larger = new PolicyChain(chain.selectors, actors, chain.options);
    const repeat = (change: (i: number) => void) =>
      Array.from({ length: changes }, (_, i) => elapsedMs(() => change(i)));
    const ones = repeat((i) => running.set(1, { flip: i % 100 }));
    const twos = repeat((i) => running.set(1, { flip: i % 100, window: 30_000 + i }));
    const setInARow = ones.reduce((sum, ms) => sum + ms, 0) / changes;
    const addActor = elapsedMs(() => larger.replace());
    const beforeEdit = performance.now();
    await running.edit(({ actors }) => void actors.disable(1));
    const disableActor = performance.now() - beforeEdit;
    return {
      compile,
      load,
      submit,
      submitAgain,
      addActor,
      disableActor,
      set: median(ones),
      setTwo: median(twos),
      setInARow,
    };
  } finally {
    running.remove();
  }
}

function elapsedMs(work: () => unknown): number {
  const start = performance.now();
  work();
  return performance.now() - start;
}
