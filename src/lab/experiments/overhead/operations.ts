/** Figure 5a: what each selector and each actor costs alone, per packet. */
import { ActorChain, ChainError, ParameterError, PolicyChain, SelectorChain } from "../../../chain/index.ts";
import { alu32, exit } from "../../../bpf/asm.ts";
import { hooks } from "../../../compiler/frontend/hooks.ts";
import { loadProgram } from "../../../linux/index.ts";
import * as builtIn from "../../../policies/index.ts";
import type { Actor, Policy, Selector } from "../../../policy/index.ts";
import type { Lab } from "../../lab.ts";
import { timePrograms } from "../../measure/programs.ts";
import { attachChain } from "../experiment.ts";
import { nothing } from "../policies/nothing.ts";
import { programsOf } from "./chains.ts";
import { acknowledgment } from "./packets.ts";

/** What policies are told that need to be told something; selectors so that they match the packet. */
const inputs: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  src: { prefix: "10.0.0.0/8" },
  dst: { prefix: "10.0.0.0/8" },
  ip_pair: { local: "10.0.1.1", remote: "10.0.1.2" },
  subflow: { local: "10.0.1.1", localPort: 10_000, remote: "10.0.1.2", remotePort: 5001 },
  port: { port: 5001 },
  packet_type: { type: "data_ack" },
  sequence: { of: "subflow", from: 0, to: 5000 },
  mptcp_conn: { token: 1 },
  rate_limit: { rate: "30gbit" },
  police: { rate: "30gbit" },
  cap_window: { window: 1_000_000 },
  clamp_mss: { by: 8 },
  grant_credits: { rate: "30gbit" },
  mark: { mark: 7 },
  mac_modify: { source: "02:00:00:00:00:07", destination: "02:00:00:00:00:08" },
  redirect: { interface: "lo" },
};

/** A copy of each of a million packets would really be sent. */
const unmeasured: Readonly<Record<string, string>> = { mirror: "it sends real copies" };

/** One program for all policies, or one for each, which is how the paper's chains are made. */
export const modes = ["fused", "linked"] as const;
type Mode = (typeof modes)[number];

export interface Operation {
  readonly name: string;
  readonly kind: "entry" | "selector" | "actor";
  /** Median ns per packet, without what the chain around it costs. */
  readonly ns: Readonly<Record<Mode, number>>;
}

export interface Operations {
  readonly measured: readonly Operation[];
  /** Names with the reason. */
  readonly left: readonly string[];
}

export interface Effort {
  readonly rounds: number;
  /** Runs in each round. */
  readonly repeats: number;
  /** All policies unless told. */
  readonly names?: readonly string[];
}

/** Measures on the client's end of `link`. */
export function measureOperations(
  lab: Lab,
  link: string,
  effort: Effort,
  onProgress: (text: string) => void,
): Operations {
  const left: string[] = [];
  const packet = acknowledgment();
  const empty = loadEmpty();
  const attach = (title: string, composed: Composed, mode: Mode) => {
    const chain = new PolicyChain(composed.selectors, composed.actors, { direction: "ingress", mode });
    const { running, detach } = attachChain(lab, "client", `op-${mode}-${title}`, chain, [link]);
    const [program] = programsOf(running);
    return {
      program,
      close: () => {
        program.close();
        detach();
      },
    };
  };
  const nothingAtAll = { selectors: new SelectorChain(), actors: new ActorChain().add(nothing) };
  const bases = { fused: attach("base", nothingAtAll, "fused"), linked: attach("base", nothingAtAll, "linked") };
  const cost = (title: string, composed: Composed, mode: Mode): number => {
    const one = attach(title, composed, mode);
    try {
      const [without, withIt] = timePrograms([bases[mode].program, one.program], packet, effort).nsPerPacket;
      return Math.max(0, withIt - without);
    } finally {
      one.close();
    }
  };
  try {
    const programs = [empty, bases.fused.program, bases.linked.program];
    const [around, fused, linked] = timePrograms(programs, packet, effort).nsPerPacket;
    const measured: Operation[] = [
      { name: "chain entry", kind: "entry", ns: { fused: fused - around, linked: linked - around } },
    ];
    for (const policy of Object.values(builtIn) as Policy[]) {
      const { name, kind } = policy;
      if (effort.names?.includes(name) === false) continue;
      onProgress(`${kind} ${name} alone`);
      const composed = compose(policy);
      if (typeof composed === "string") left.push(`${name} (${composed})`);
      else
        measured.push({
          name,
          kind,
          ns: { fused: cost(name, composed, "fused"), linked: cost(name, composed, "linked") },
        });
    }
    return { measured, left };
  } finally {
    for (const base of Object.values(bases)) base.close();
    empty.close();
  }
}

interface Composed {
  readonly selectors: SelectorChain;
  readonly actors: ActorChain;
}

/** A chain of one policy; or why there is none. */
function compose(policy: Policy): Composed | string {
  if (policy.on === "socket") return "it runs per round trip, not per packet";
  const reason = unmeasured[policy.name];
  if (reason !== undefined) return reason;
  const given = (inputs[policy.name] ?? {}) as never;
  try {
    return policy.kind === "selector"
      ? { selectors: new SelectorChain().select(policy as Selector, given), actors: new ActorChain().add(nothing) }
      : { selectors: new SelectorChain(), actors: new ActorChain().add(policy as Actor, given) };
  } catch (error) {
    if (error instanceof ParameterError || error instanceof ChainError)
      return `no example of its parameters: ${error.message}`;
    throw error;
  }
}

/** A program that lets every packet go on, and does nothing else: what a test run costs by itself. */
export function loadEmpty() {
  const { programType, attachType, proceed } = hooks.tcx_ingress;
  const instructions = [alu32.mov.imm(0, proceed | 0), exit()];
  return loadProgram({ name: "empty", type: programType, attachType, license: "GPL", instructions, maps: {} }, {});
}
