/** The chains whose cost is measured, and their programs in the kernel. */
import { ActorChain, PolicyChain, SelectorChain, type RunningChain } from "../../../chain/index.ts";
import { chainDirectory } from "../../../chain/store.ts";
import { openLink, programFromId, type KernelProgram } from "../../../linux/index.ts";

/** Selectors that match every packet between the hosts of the lab: the worst case. */
const selectors = [
  ["src", { prefix: "10.0.0.0/8" }],
  ["dst", { prefix: "10.0.0.0/8" }],
  ["ip_pair", { local: "10.0.1.1", remote: "10.0.1.2" }],
  ["src", { prefix: "0.0.0.0/1" }],
] as const;
const actors = [
  ["record", {}],
  ["blk_subflow", {}],
  ["rate_limit", { rate: "30gbit" }],
  ["mark", { mark: 7 }],
] as const;

/** The paper's lengths: 1 selector and 1 actor, 1 and 3, 4 and 4. */
export const lengths = { 2: [1, 1], 4: [1, 3], 8: [4, 4] } as const;
export type Length = keyof typeof lengths;

export function actorChain(count: number): ActorChain {
  const chain = new ActorChain();
  for (const [name, inputs] of actors.slice(0, count)) chain.add(name, inputs);
  return chain;
}

export function chainOfLength(length: Length): PolicyChain {
  const [selecting, acting] = lengths[length];
  const selected = new SelectorChain();
  for (const [name, inputs] of selectors.slice(0, selecting)) selected.select(name, inputs);
  return new PolicyChain(selected, actorChain(acting));
}

/** The programs of a chain on packets, as attached. Close them. */
export function programsOf(chain: RunningChain): KernelProgram[] {
  const directory = chainDirectory(chain.name);
  if (directory === undefined) throw new Error(`Cannot find the programs of chain ${chain.name}: it is gone`);
  return chain.description.attachments
    .filter(({ hook }) => hook === "tcx_ingress" || hook === "tcx_egress")
    .map(({ pin }) => {
      const link = openLink(`${directory}/${pin}`);
      try {
        return programFromId(link.info().programId);
      } finally {
        link.close();
      }
    });
}

export interface RunTotals {
  readonly ns: number;
  readonly packets: number;
}

/** What the programs ran, by the kernel's own count; it counts while run statistics are enabled. */
export function runTotals(programs: readonly KernelProgram[]): RunTotals {
  const infos = programs.map((program) => program.info());
  return {
    ns: infos.reduce((sum, { runTimeNs }) => sum + runTimeNs, 0),
    packets: infos.reduce((sum, { runCount }) => sum + runCount, 0),
  };
}
