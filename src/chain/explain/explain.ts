/** Says, packet by packet, what a chain would do: its programs run in the VM, on packets from a capture or an interface. */
import type { PacketResult } from "../../bpf/vm/index.ts";
import { hooks, type PacketHook } from "../../compiler/index.ts";
import {
  describeTcpFlags,
  describeTcpOption,
  formatIpAddress,
  packetChanges,
  parsePacket,
  WireError,
  type IpPrefix,
  type ParsedPacket,
} from "../../wire/index.ts";
import { arrangeCounters } from "../counters.ts";
import { selectorsIn, type ActorDescription } from "../description.ts";
import { PolicyChain, type ChainPlan } from "../policy-chain.ts";
import { prefixesOf } from "./attribution.ts";
import { DirectionFinder } from "./direction.ts";
import type {
  ActorDeed,
  Explanation,
  PacketSummary,
  PacketToExplain,
  SelectorAnswer,
  SkippedPacket,
  Verdict,
} from "./explanation.ts";
import { ChainMachine, ownInterface, type Contents, type Passage } from "./machine.ts";
import { StateWatcher } from "./state-changes.ts";

export interface ExplainOptions {
  /** Addresses of the host whose chain it is. */
  readonly local?: readonly IpPrefix[];
  /** What the chain's maps start with, by their keys; without, state is empty and parameters are those of the chain. */
  readonly contents?: ReadonlyMap<string, Contents>;
  /**
   * When the chain's clock was zero, in nanoseconds since 1970, for state that holds times; without, the chain's clock starts
   * at one second with the first packet.
   */
  readonly clockZeroNs?: bigint;
}

/** Between packets whose capture has no times. */
const stepNs = 1_000_000n;
/** The chain's clock at the first packet: the kernel's counts from the start of the system, not from 1970. */
const startNs = 1_000_000_000n;

/** A chain whose packets come one by one. Each sees what those before it left in the chain's memory. */
export class Explainer {
  readonly plan: ChainPlan;
  readonly #machine: ChainMachine;
  /** The chain up to each of its actors, for what one more actor does. */
  readonly #prefixes: readonly { readonly actor: number; readonly machine: ChainMachine }[];
  readonly #directions: DirectionFinder;
  readonly #watchers: readonly StateWatcher[];
  readonly #selectors: ReturnType<typeof selectorsIn>;
  /** Names by numbers. */
  readonly #interfaces: ReadonlyMap<number, string>;
  #count = 0;
  #timeNs = startNs;
  /** What the chain's clock is behind the capture's. */
  #behindNs: bigint | undefined;

  /** @throws CompileError, ChainError */
  constructor(chain: PolicyChain | ChainPlan, { local = [], contents, clockZeroNs }: ExplainOptions = {}) {
    const interfaces = new Map<number, string>();
    this.plan = chain instanceof PolicyChain ? planOf(chain, interfaces) : chain;
    this.#interfaces = interfaces;
    this.#machine = new ChainMachine(this.plan, contents);
    const prefixes = chain instanceof PolicyChain ? prefixesOf(chain) : [];
    this.#prefixes = prefixes.map(({ actor, chain: part }) => {
      return { actor, machine: new ChainMachine(planOf(part, interfaces), contents) };
    });
    this.#directions = new DirectionFinder(local);
    this.#behindNs = clockZeroNs;
    this.#selectors = selectorsIn(this.plan.selector);
    // What lasts for one packet is in no map, and nothing of it is left to tell.
    this.#watchers = this.plan.compiled.layout.state.flatMap((slot) => {
      const map = this.#machine.maps.get(slot.map);
      const owners = slot.owners.map(({ kind, index }) => this.#policyName(kind, index));
      return map ? [new StateWatcher(slot, map, [...new Set(owners)])] : [];
    });
  }

  #policyName(kind: "selector" | "actor", index: number): string {
    return (kind === "actor" ? this.plan.actors : this.#selectors)[index].name;
  }

  #interfaceName(index: number): string {
    return this.#interfaces.get(index) ?? `number ${index}`;
  }

  /** Whether the chain has programs on packets at all; socket actors alone have none. */
  get seesPackets(): boolean {
    return this.#machine.directions.length > 0;
  }

  /** What a map of the chain holds now. */
  contents(map: string): Contents {
    return [...(this.#machine.maps.get(map)?.entries() ?? [])];
  }

  /** @throws VmError when the program does what the kernel would not let it do */
  explain(given: PacketToExplain): Explanation {
    const { timestampNs } = given;
    if (timestampNs !== undefined) this.#behindNs ??= timestampNs - this.#timeNs;
    this.#timeNs = timestampNs === undefined ? this.#timeNs + stepNs : timestampNs - this.#behindNs!;
    const common = {
      number: ++this.#count,
      ...(timestampNs !== undefined && { timestampNs }),
      frame: given.frame,
    };
    const skip = (reason: string, more: Partial<SkippedPacket> = {}): SkippedPacket => {
      return { ...common, ...more, kind: "skipped", reason };
    };
    const frame = completed(given);
    let parsed: ParsedPacket;
    try {
      parsed = parsePacket(frame);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      return skip(`broken: ${error.message}`);
    }
    const { ip, tcp } = parsed;
    if (!ip || !tcp) return skip("not TCP, or a fragment");
    const packet = summarize({ ...parsed, ip, tcp });
    const direction = this.#directions.find({ ip, tcp }, given.direction);
    const hook = this.#machine.hookFor(direction.direction);
    if (!hook) return skip(`the chain does not run on ${direction.direction}`, { packet, direction });
    const tooLong = frame.length > longestXdp && hook === "xdp";
    if (tooLong) return skip(`XDP takes at most ${longestXdp} bytes, this has ${frame.length}`, { packet, direction });
    const run = (machine: ChainMachine) => machine.run(frame, direction.direction, this.#timeNs);
    const passage = run(this.#machine)!;
    const parts = this.#prefixes.flatMap(({ actor, machine }) => {
      const part = run(machine);
      return part ? [{ actor, passage: part }] : [];
    });
    return {
      ...common,
      kind: "explained",
      packet,
      direction,
      cut: frame !== given.frame,
      ...this.#read(frame, passage, parts),
    };
  }

  #read(
    frame: Uint8Array,
    { hook, result, counted, context, events }: Passage,
    parts: readonly { readonly actor: number; readonly passage: Passage }[],
  ) {
    const { selector, actors, compiled } = this.plan;
    const last = actors.findLastIndex(({ on, disabled }) => on !== "socket" && !disabled);
    const deeds = this.#deeds(hook, frame, [...parts, { actor: last, passage: { result } }]);
    const counters = arrangeCounters([counted], compiled.layout, selector, actors);
    return {
      hook,
      matched: counters.matched > 0,
      selectors: counters.selectors.map(({ seen, matched }, i): SelectorAnswer => {
        const { name, params, disabled } = this.#selectors[i];
        const asked = matched > 0 ? "matched" : "not matched";
        const answer = disabled ? "disabled" : seen === 0 ? "not asked" : asked;
        return { name, params, answer };
      }),
      actors: counters.actors.map(({ name, seen, acted, cannot }, i): ActorDeed => {
        const reasons = Object.keys(cannot).filter((reason) => cannot[reason] > 0);
        const did = didWhat(actors[i], { seen, acted, reasons });
        return { name, did, reasons, ...(deeds.get(i) ?? { changes: [] }) };
      }),
      events: events.map(({ policy, name, fields }) => ({
        policy: this.#policyName(policy.kind, policy.index),
        name,
        fields,
      })),
      state: this.#watchers.flatMap((watcher) => watcher.changes()),
      ...this.#verdict(hook, result),
      copies: result.clones.map(({ ifindex, packet }) => ({
        ...(ifindex !== ownInterface && { interface: this.#interfaceName(ifindex) }),
        changes: packetChanges(frame, packet),
      })),
      context: Object.fromEntries(Object.entries(context).map(([field, value]) => [field, Number(value)])),
      after: result.packet,
      changes: packetChanges(frame, result.packet),
    } as const;
  }

  /** What each actor added to what the ones before it had done; nothing where only the whole chain is known. */
  #deeds(
    hook: PacketHook,
    frame: Uint8Array,
    steps: readonly { readonly actor: number; readonly passage: Pick<Passage, "result"> }[],
  ): ReadonlyMap<number, Pick<ActorDeed, "changes" | "verdict">> {
    const { actors } = this.plan;
    const acting = actors.filter(({ on, disabled }) => on !== "socket" && !disabled);
    if (steps.length !== acting.length) return new Map();
    let before = { packet: frame, verdict: "pass" as Verdict };
    return new Map(
      steps.map(({ actor, passage: { result } }) => {
        const { verdict } = this.#verdict(hook, result);
        const changes = packetChanges(before.packet, result.packet);
        const isNew = verdict !== before.verdict;
        before = { packet: result.packet, verdict };
        return [actor, { changes, ...(isNew && { verdict }) }] as const;
      }),
    );
  }

  #verdict(hook: PacketHook, { returnValue, redirect }: PacketResult) {
    const { proceed, drop } = hooks[hook];
    if (returnValue === proceed) return { verdict: "pass" } as const;
    if (returnValue === drop) return { verdict: "drop" } as const;
    // Back by the way it came: XDP_TX, or a redirection to the packet's own interface.
    if (!redirect || redirect.ifindex === ownInterface) return { verdict: "answer" } as const;
    return { verdict: "redirect", redirectedTo: this.#interfaceName(redirect.ifindex) } as const;
  }
}

const longestXdp = 3520;

/** From here on numbers are given to interfaces that are only named. */
const firstInterface = 1001;

/** Explaining needs no interface: the programs are the same for all. `interfaces` gets those of the chain's parameters. */
function planOf(chain: PolicyChain, interfaces: Map<number, string>): ChainPlan {
  return (chain.options.interfaces?.length ? chain : chain.with({ interfaces: ["any"] })).plan((name) => {
    const known = [...interfaces].find(([, other]) => other === name)?.[0];
    const index = known ?? firstInterface + interfaces.size;
    interfaces.set(index, name);
    return index;
  });
}

/** The frame as long as it was on the wire. */
function completed({ frame, originalLength = 0 }: PacketToExplain): Uint8Array {
  if (originalLength <= frame.length) return frame;
  const whole = new Uint8Array(originalLength);
  whole.set(frame);
  return whole;
}

function summarize({ ip, tcp, payload }: ParsedPacket & Required<Pick<ParsedPacket, "ip" | "tcp">>): PacketSummary {
  return {
    source: formatIpAddress(ip.source),
    sourcePort: tcp.sourcePort,
    destination: formatIpAddress(ip.destination),
    destinationPort: tcp.destinationPort,
    flags: describeTcpFlags(tcp.flags),
    payloadBytes: payload.length,
    options: tcp.options.filter(({ kind }) => kind !== "nop" && kind !== "endOfList").map(describeTcpOption),
  };
}

function didWhat(
  { on, disabled }: ActorDescription,
  counted: { readonly seen: number; readonly acted: number; readonly reasons: readonly string[] },
): ActorDeed["did"] {
  if (disabled) return "disabled";
  if (on === "socket") return "not on packets";
  if (counted.seen === 0) return "not asked";
  if (counted.reasons.length > 0) return "could not";
  return counted.acted > 0 ? "acted" : "idle";
}

/**
 * What `chain` would do with `packets`, in their order.
 *
 * ```ts
 * for (const one of explain(chain, framesOf(readCapture(file)))) console.log(one.number, one.kind);
 * ```
 * @throws CompileError, ChainError
 */
export function* explain(
  chain: PolicyChain | ChainPlan,
  packets: Iterable<PacketToExplain>,
  options: ExplainOptions = {},
): Generator<Explanation> {
  const explainer = new Explainer(chain, options);
  for (const packet of packets) yield explainer.explain(packet);
}
