/** The chains measured: composed as a person would, and the name of the C file that does the same. */
import { ActorChain, MemberSet, PolicyChain, SelectorChain, type ChainOptions } from "../chain/index.ts";
import { removeAnnouncements, windowCap } from "./policies.ts";

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
  /** A set among the selectors; the baseline keeps the same in its map `members`. */
  readonly set?: MemberSet;
}

const toPrefix = (): SelectorChain => new SelectorChain().select("dst", { prefix: "10.1.0.0/16" });
const capAndRecord = (): ActorChain => new ActorChain().add(windowCap, caps[0]).add(removeAnnouncements).add("record");

const timedSubflow = { local: "10.1.0.1", remote: "10.2.0.2", localPort: 43_210, remotePort: 5001 };
export const setSize = 100_000;

/** Many subflows, among them that of the packet timed, with a window each. */
const subflows = new MemberSet("subflow", {
  params: windowCap.params,
  max: setSize,
  members: Array.from({ length: setSize }, (_, i) => ({
    ...timedSubflow,
    ...(i > 0 && { remote: `10.${i >> 14}.${(i >> 6) & 0xff}.${i & 0x3f}`, remotePort: 1024 + (i % 50_000) }),
    window: 40_000 - (i % 1000),
    flip: 1,
  })),
});

export const benchChains: readonly BenchChain[] = [
  {
    name: "1 selector + 1 actor",
    baseline: "one_one",
    selectors: toPrefix(),
    actors: new ActorChain().add(windowCap, caps[0]),
  },
  {
    name: "a constant subflow + 1 actor",
    baseline: "subflow_one",
    selectors: new SelectorChain().select("subflow", timedSubflow),
    actors: new ActorChain().add(windowCap, caps[0]),
  },
  {
    name: "a set of 100 000 subflows + 1 actor",
    baseline: "set_one",
    selectors: new SelectorChain().select(subflows),
    actors: new ActorChain().add(windowCap, { window: subflows.param("window"), flip: subflows.param("flip") }),
    set: subflows,
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
