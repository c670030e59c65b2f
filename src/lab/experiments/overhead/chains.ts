/** The chains whose cost is measured, and their programs in the kernel. */
import { ActorChain, PolicyChain, SelectorChain, type RunningChain } from "../../../chain/index.ts";
import { chainDirectory } from "../../../chain/store.ts";
import { openLink, programFromId, type KernelProgram } from "../../../linux/index.ts";
import type { Lab } from "../../lab.ts";
import { bare } from "../../plan.ts";
import { attachChain } from "../experiment.ts";

const actors = [
  ["record", {}],
  ["rate_limit", { rate: "30gbit" }],
  ["mark", { mark: 7 }],
  ["mac_modify", {}],
] as const;

/** The paper's lengths: 1 selector and 1 actor, 1 and 3, 4 and 4. */
export const lengths = { 2: [1, 1], 4: [1, 3], 8: [4, 4] } as const;
export type Length = keyof typeof lengths;

export type Addresses = { readonly local: string; readonly remote: string };

/** The client's and the server's address on a link. */
export function addressesOf(lab: Lab, link: string): Addresses {
  const [client, server] = lab.link(link).ends;
  return { local: bare(client.ipv4), remote: bare(server.ipv4) };
}

export function actorChain(count: number): ActorChain {
  const chain = new ActorChain();
  for (const [name, inputs] of actors.slice(0, count)) chain.add(name, inputs);
  return chain;
}

/** A chain whose selectors match every packet between the two hosts: the worst case. */
export function chainOfLength(length: Length, addresses: Addresses): PolicyChain {
  const [selecting, acting] = lengths[length];
  const selectors = [
    ["src", { prefix: "10.0.0.0/8" }],
    ["dst", { prefix: "10.0.0.0/8" }],
    ["ip_pair", addresses],
    ["src", { prefix: "0.0.0.0/1" }],
  ] as const;
  const selected = new SelectorChain();
  for (const [name, inputs] of selectors.slice(0, selecting)) selected.select(name, inputs);
  return new PolicyChain(selected, actorChain(acting));
}

/** A link between client and server, with or without a chain on the client's end of it. */
export interface Side {
  readonly link: string;
  readonly running?: RunningChain;
  /** As attached, to read their run statistics. */
  readonly programs: readonly KernelProgram[];
  readonly detach: () => void;
}

/** Attaches a chain to both directions of a link's end at the client. Each stays while sides are measured in turn. */
export function attachSide(lab: Lab, link: string, chain?: PolicyChain): Side {
  if (chain === undefined) return { link, programs: [], detach: () => {} };
  const { running, detach } = attachChain(lab, "client", link, chain.with({ direction: "both" }), [link]);
  const programs = programsOf(running);
  return {
    link,
    running,
    programs,
    detach: () => {
      for (const program of programs) program.close();
      detach();
    },
  };
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
