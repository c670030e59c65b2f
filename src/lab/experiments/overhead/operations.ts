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
  mark: { mark: 7 },
  mac_modify: { source: "02:00:00:00:00:07", destination: "02:00:00:00:00:08" },
  redirect: { interface: "lo" },
};

/** A copy of each of a million packets would really be sent. */
const unmeasured: Readonly<Record<string, string>> = { mirror: "it sends real copies" };

export interface Operation {
  readonly name: string;
  readonly kind: "entry" | "selector" | "actor";
  /** Median ns per packet, without what the chain around it costs. */
  readonly ns: number;
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
  const measured: Operation[] = [];
  const left: string[] = [];
  const empty = loadEmpty();
  const attach = (title: string, selectors: SelectorChain, actors: ActorChain) => {
    const chain = new PolicyChain(selectors, actors, { direction: "ingress" });
    const { running, detach } = attachChain(lab, "client", `op-${title}`, chain, [link]);
    const [program] = programsOf(running);
    return {
      program,
      close: () => {
        program.close();
        detach();
      },
    };
  };
  const base = attach("base", new SelectorChain(), new ActorChain().add(nothing));
  try {
    const packet = acknowledgment();
    const [around, entry] = timePrograms([empty, base.program], packet, effort).nsPerPacket;
    measured.push({ name: "chain entry", kind: "entry", ns: entry - around });
    for (const policy of Object.values(builtIn) as Policy[]) {
      const { name } = policy;
      if (effort.names?.includes(name) === false) continue;
      onProgress(`${policy.kind} ${name} alone`);
      if (policy.on === "socket") {
        left.push(`${name} (it runs per round trip, not per packet)`);
        continue;
      }
      if (unmeasured[name] !== undefined) {
        left.push(`${name} (${unmeasured[name]})`);
        continue;
      }
      const given = (inputs[name] ?? {}) as never;
      const isSelector = policy.kind === "selector";
      const selectors = new SelectorChain();
      const actors = new ActorChain();
      let one: ReturnType<typeof attach>;
      try {
        if (isSelector) selectors.select(policy as Selector, given);
        actors.add(isSelector ? nothing : (policy as Actor), isSelector ? {} : given);
        one = attach(name, selectors, actors);
      } catch (error) {
        if (!(error instanceof ParameterError || error instanceof ChainError)) throw error;
        left.push(`${name} (no example of its parameters: ${error.message})`);
        continue;
      }
      try {
        const [without, withIt] = timePrograms([base.program, one.program], packet, effort).nsPerPacket;
        measured.push({ name, kind: policy.kind, ns: Math.max(0, withIt - without) });
      } finally {
        one.close();
      }
    }
  } finally {
    base.close();
    empty.close();
  }
  return { measured, left };
}

/** A program that lets every packet go on, and does nothing else: what a test run costs by itself. */
export function loadEmpty() {
  const { programType, attachType, proceed } = hooks.tcx_ingress;
  const instructions = [alu32.mov.imm(0, proceed | 0), exit()];
  return loadProgram({ name: "empty", type: programType, attachType, license: "GPL", instructions, maps: {} }, {});
}
