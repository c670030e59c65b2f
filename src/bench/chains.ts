/** The chains measured: composed as a person would, and the name of the C file that does the same. */
import { ActorChain, PolicyChain, SelectorChain, type ChainOptions } from "../chain/index.ts";
import { windowCap } from "./policies.ts";

export type BenchHook = "xdp" | "tcx_ingress";
export const benchHooks: readonly BenchHook[] = ["xdp", "tcx_ingress"];

const optionsOf: Readonly<Record<BenchHook, ChainOptions>> = {
  xdp: { hook: "xdp" },
  tcx_ingress: { direction: "ingress" },
};

/** The caps' parameters: windows above that of the packet timed, bits to flip. */
const caps = [
  { window: 40_000, flip: 1 },
  { window: 30_000, flip: 2 },
] as const;
/** The same words, as the baselines keep them. */
export const baselineParameters: readonly number[] = caps.flatMap(({ window, flip }) => [window, flip]);

export interface BenchChain {
  readonly name: string;
  /** The C file in baseline/ that does the same. */
  readonly baseline: string;
  readonly selectors: SelectorChain;
  readonly actors: ActorChain;
}

const toPrefix = (): SelectorChain => new SelectorChain().select("dst", { prefix: "10.1.0.0/16" });
const capAndRecord = (): ActorChain => new ActorChain().add(windowCap, caps[0]).add("blk_subflow").add("record");

export const benchChains: readonly BenchChain[] = [
  {
    name: "1 selector + 1 actor",
    baseline: "one_one",
    selectors: toPrefix(),
    actors: new ActorChain().add(windowCap, caps[0]),
  },
  { name: "1 selector + 3 actors", baseline: "one_three", selectors: toPrefix(), actors: capAndRecord() },
  {
    name: "4 selectors + 4 actors",
    baseline: "four_four",
    selectors: toPrefix()
      .select("src", { prefix: "10.0.0.0/8" })
      .select("packet_type", { type: "pure_ack" })
      .select("ip_pair", { local: "10.1.0.1", remote: "10.2.0.2" }),
    actors: capAndRecord().add(windowCap, caps[1]),
  },
];

/** The chain for one hook of `interfaces`; compiling it needs none that exists. */
export function policyChain(
  { selectors, actors, baseline }: BenchChain,
  hook: BenchHook,
  options: ChainOptions = { interfaces: ["none"] },
): PolicyChain {
  return new PolicyChain(selectors, actors, { name: baseline, ...optionsOf[hook], ...options });
}
