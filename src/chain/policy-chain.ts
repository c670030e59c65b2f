/** A whole chain: selectors and actors, compiled and attached. */
import type { ChainMode, ChainSource, CompiledChain, Hook, PolicyUse, SelectorTree } from "../compiler/index.ts";
import type { Actor, Policy } from "../policy/index.ts";
import { rateLimit } from "../policies/index.ts";
import type { NetworkNamespace } from "../linux/index.ts";
import { ActorChain, SelectorChain, type ActorEntry } from "./compose.ts";
import { describeExpression, originOf, type ActorDescription, type SelectorDescription } from "./description.ts";
import { ChainError } from "./errors.ts";
import { enabledPart, type Expression } from "./expression.ts";
import {
  compileBlueprint,
  parametersValue,
  replaceChain,
  submitChain,
  type Blueprint,
  type ResolvedActor,
} from "./install.ts";
import { chooseLimiter } from "./rate-limit.ts";
import type { RunningChain } from "./running.ts";
import { checkSets, memberUses, selectorUse } from "./sets.ts";
import { policyFile } from "./sources.ts";

export interface ChainOptions {
  /** Names the chain for `list`, `set` and `remove`; by default its actors' names. */
  readonly name?: string;
  /** Interfaces whose packets the chain sees: all that carry the connections meant. Not needed by socket actors. */
  readonly interfaces?: readonly string[];
  /** Packets that arrive, that leave, or both; by default what the actors ask for. */
  readonly direction?: "ingress" | "egress" | "both";
  /** `tcx` (the default), or `xdp` for packets that arrive. */
  readonly hook?: "tcx" | "xdp";
  /** The network namespace of the interfaces and sockets; by default the caller's. */
  readonly netns?: NetworkNamespace;
  /** For socket actors: whose sockets; a path in the cgroup2 file system, by default its root. */
  readonly cgroup?: string;
  /**
   * `fused`: one program per hook, the fastest. `linked`: one program per selector and actor, chained by tail calls, so that
   * their order changes without compiling. By default fused, unless the chain has foreign members.
   */
  readonly mode?: ChainMode;
  /**
   * Where it stands among the chains of a tc hook: those of a lower number run first, then those submitted first. An integer
   * from -32768 to 32767, 0 unless told. XDP has room for one chain per interface.
   */
  readonly priority?: number;
}

/** A chain as it would be loaded, with what a person calls its parts. */
export interface ChainPlan {
  readonly name: string;
  readonly selector: SelectorDescription;
  readonly actors: readonly ActorDescription[];
  readonly compiled: CompiledChain;
  /** The value of the parameters map; absent where no actor has any. */
  readonly parameters?: Uint8Array;
}

export class PolicyChain {
  readonly selectors: SelectorChain;
  readonly actors: ActorChain;
  readonly options: ChainOptions;

  constructor(selectors: SelectorChain, actors: ActorChain, options: ChainOptions = {}) {
    if (!(selectors instanceof SelectorChain))
      throw new TypeError("Cannot make a policy chain: the first argument is no SelectorChain");
    if (!(actors instanceof ActorChain))
      throw new TypeError("Cannot make a policy chain: the second argument is no ActorChain");
    if (actors.entries.length === 0)
      throw new ChainError("Cannot make a policy chain: it has no actor; add one with actors.add(…)");
    checkSets(selectors.expression, actors.entries);
    const { priority = 0 } = options;
    if (!Number.isInteger(priority) || priority < -32_768 || priority > 32_767)
      throw new ChainError(`Cannot give a chain priority ${priority}: it takes an integer from -32768 to 32767`);
    this.selectors = selectors;
    this.actors = actors;
    this.options = options;
  }

  /** The same chain with other options. */
  with(options: ChainOptions): PolicyChain {
    return new PolicyChain(this.selectors, this.actors, { ...this.options, ...options });
  }

  get name(): string {
    return (
      this.options.name ??
      this.#resolve()
        .map(({ policy }) => policy.name)
        .join("-")
        .slice(0, 64)
    );
  }

  /**
   * Compiles the chain without touching a kernel: the specs that `submit` would load, one per hook.
   * @throws CompileError, ChainError
   */
  compile(): CompiledChain {
    return compileBlueprint(this.#blueprint());
  }

  /**
   * Compiles the chain, and says what belongs to the programs: names, and the values of parameters.
   * @param interfaceOf the numbers of interfaces named in parameters; by default those of the current network namespace
   * @throws CompileError, ChainError
   */
  plan(interfaceOf?: (name: string) => number): ChainPlan {
    const blueprint = this.#blueprint();
    const compiled = compileBlueprint(blueprint);
    const parameters = parametersValue(blueprint, compiled.layout, new Map(), interfaceOf);
    return {
      name: this.name,
      selector: blueprint.selector,
      actors: blueprint.actors.map(({ description }) => description),
      compiled,
      ...(parameters && { parameters }),
    };
  }

  /**
   * Compiles the chain, loads it and attaches it: all of it, or nothing. It stays when this process ends.
   * @throws CompileError, ChainError, ChainExistsError, VerifierError, KernelError, NoSuchInterfaceError
   */
  submit(): RunningChain {
    return submitChain(this.#blueprint());
  }

  /**
   * Puts this chain in the place of the one of its name while packets flow: all of it or nothing, and no packet meets half
   * of it. See `RunningChain.replace`.
   * @param expected change nothing, and say so, unless the chain there is of this generation
   * @throws as `submit`, NoSuchChainError, ChainBusyError
   */
  replace(expected?: number): RunningChain | "outdated" {
    return replaceChain(this.#blueprint(), expected);
  }

  #blueprint(): Blueprint {
    const { name, options, selectors } = this;
    const actors = this.#resolve();
    // Foreign members are programs of their own: only linking joins them to others.
    const policies = [...selectors.entries, ...actors].map(({ policy }) => policy);
    const mode = options.mode ?? (policies.some(({ foreign }) => foreign) ? "linked" : "fused");
    return {
      name,
      options: { ...options, mode },
      hooks: this.#hooks(actors),
      source: this.#source(actors),
      selector: describeExpression(selectors.expression),
      selectorOrigins: selectors.entries.map(({ origin }) => origin),
      actors,
    };
  }

  // What is asked for

  /** Actors as they will be done. */
  #resolve(): ResolvedActor[] {
    return this.actors.entries.map((entry) => {
      if (entry.policy !== rateLimit) return resolved(entry, entry.policy);
      const { policy, note } = chooseLimiter(entry, enabledPart(this.selectors.expression), this.options);
      return resolved(entry, policy, note);
    });
  }

  #source(actors: readonly ResolvedActor[]): ChainSource {
    return {
      name: this.name,
      selector: selectorTree(enabledPart(this.selectors.expression)),
      idle: this.selectors.entries.filter(({ set, disabled }) => set && disabled).map(selectorUse),
      actors: actors.map(({ policy, entry }): PolicyUse => ({
        policy,
        file: policyFile(policy),
        fromMember: memberUses(entry),
        ...(entry.disabled && { disabled: true }),
      })),
    };
  }

  #hooks(actors: readonly ResolvedActor[]): Hook[] {
    const onPackets = actors.filter(({ policy }) => policy.on === "packet");
    const onSockets = actors.length > onPackets.length;
    const packetHooks = onPackets.length > 0 ? this.#packetHooks(onPackets.map(({ policy }) => policy)) : [];
    if (packetHooks.length > 0 && (this.options.interfaces ?? []).length === 0) {
      const notes = onPackets.flatMap(({ description: { note } }) => (note === undefined ? [] : [` (${note})`]));
      throw new ChainError(
        `Cannot attach chain ${this.name}: it has no interface; name those that carry the connections, for example interfaces: ["eth0"]${notes.join("")}`,
      );
    }
    return [...packetHooks, ...(onSockets ? (["sock_ops", "iter_tcp", "iter_tcp_release"] as const) : [])];
  }

  #packetHooks(policies: readonly Policy[]): Hook[] {
    const wanted = new Set(policies.map(({ direction }) => direction));
    const asked = this.options.direction ?? (wanted.size === 1 ? [...wanted][0] : "both");
    const needsIngress = policies.find(({ direction }) => direction === "ingress" || direction === "both");
    if (asked === "egress" && needsIngress)
      throw new ChainError(
        `Cannot attach chain ${this.name} to egress only: ${needsIngress.name} acts on packets that arrive`,
      );
    if (this.options.hook === "xdp") {
      if (this.options.direction && asked !== "ingress")
        throw new ChainError(
          `Cannot attach chain ${this.name}: XDP sees only packets that arrive; use hook "tcx" for the others`,
        );
      return ["xdp"];
    }
    if (asked === "both") return ["tcx_ingress", "tcx_egress"];
    return [asked === "ingress" ? "tcx_ingress" : "tcx_egress"];
  }
}

function resolved(entry: ActorEntry, policy: Actor, note?: string): ResolvedActor {
  const { disabled, per, inputs, fromMember } = entry;
  const members = Object.entries(fromMember).map(([name, { set, field }]) => [name, { set: set.name, field }] as const);
  const description: ActorDescription = {
    name: policy.name,
    ...(policy.on === "socket" && { on: policy.on }),
    ...(disabled && { disabled }),
    ...(note !== undefined && { note }),
    given: {
      name: entry.policy.name,
      ...originOf(entry.policy, inputs),
      ...(per && { per }),
      ...(members.length > 0 && { fromMember: Object.fromEntries(members) }),
    },
  };
  return { policy, entry, description };
}

function selectorTree(expression: Expression): SelectorTree {
  switch (expression.op) {
    case "any":
      return expression;
    case "policy":
      return { op: "policy", use: selectorUse(expression) };
    case "not":
      return { op: "not", term: selectorTree(expression.term) };
    default:
      return { op: expression.op, terms: expression.terms.map(selectorTree) };
  }
}
