/** A whole chain: selectors and actors, compiled and attached. */
import {
  compileChain,
  isPacketHook,
  parametersMap,
  type ChainMode,
  type ChainSource,
  type CompiledChain,
  type Hook,
  type PolicyUse,
  type SelectorTree,
} from "../compiler/index.ts";
import type { Actor, Policy } from "../policy/index.ts";
import { pace, rateLimit } from "../policies/index.ts";
import {
  attachSockOps,
  attachTcx,
  attachXdp,
  createIterLink,
  createMap,
  interfaceIndex,
  loadCollection,
  netnsInode,
  withNetns,
  type Collection,
  type KernelLink,
  type NetworkNamespace,
} from "../linux/index.ts";
import { ChainError } from "./errors.ts";
import { ActorChain, SelectorChain, type ActorEntry, type Expression } from "./compose.ts";
import {
  describeExpression,
  encodeDescription,
  plainParameter,
  plainSet,
  type ActorDescription,
  type Attachment,
  type ChainDescription,
  type SelectorDescription,
} from "./description.ts";
import { completeInputs, readWord } from "./inputs.ts";
import { cleanUp, RunningChain } from "./running.ts";
import { checkSets, memberUses, selectorUse } from "./sets.ts";
import { policyFile, sourceReader } from "./sources.ts";
import { seedState } from "./state.ts";
import { aboutPin, beginPins, checkChainName, type PinTransaction } from "./store.ts";

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
   * `fused` (the default): one program per hook, the fastest. `linked`: one program per selector and actor, chained by tail
   * calls, so that their order changes without compiling.
   */
  readonly mode?: ChainMode;
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

interface ResolvedActor {
  readonly policy: Actor;
  readonly entry: ActorEntry;
  readonly description: ActorDescription;
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
    return compileChain(this.#source(this.#resolve()), this.#hooks(this.#resolve()), sourceReader, this.options.mode);
  }

  /**
   * Compiles the chain, and says what belongs to the programs: names, and the values of parameters.
   * @throws CompileError, ChainError
   */
  plan(): ChainPlan {
    const actors = this.#resolve();
    const compiled = compileChain(this.#source(actors), this.#hooks(actors), sourceReader, this.options.mode);
    const parameters = this.#parameters(compiled, actors);
    return {
      name: this.name,
      selector: describeExpression(this.selectors.expression),
      actors: actors.map(({ description }) => description),
      compiled,
      ...(parameters && { parameters }),
    };
  }

  /**
   * Compiles the chain, loads it and attaches it: all of it, or nothing. It stays when this process ends.
   * @throws CompileError, ChainError, ChainExistsError, VerifierError, KernelError, NoSuchInterfaceError
   */
  submit(): RunningChain {
    checkChainName(this.name);
    return withNetns(this.options.netns, () => this.#submitHere());
  }

  #submitHere(): RunningChain {
    const actors = this.#resolve();
    const hooks = this.#hooks(actors);
    // Before anything is made: names that are wrong should not cost a compilation.
    const interfaces = (this.options.interfaces ?? []).map((name) => ({ name, index: interfaceIndex(name) }));
    const compiled = compileChain(this.#source(actors), hooks, sourceReader, this.options.mode);
    cleanUp();
    const pins = beginPins(this.name);
    const links: KernelLink[] = [];
    let collection: Collection | undefined;
    let draft: RunningChain | undefined;
    try {
      collection = loadCollection(compiled);
      const parameters = this.#parameters(compiled, actors);
      if (parameters) collection.maps[parametersMap].update(new Uint8Array(4), parameters);
      seedState(compiled.layout.state, collection.maps);
      for (const [name, map] of Object.entries(collection.maps)) map.pin(`${pins.directory}/map_${name}`);
      const attachments = hooks.flatMap((hook) => this.#attach(hook, interfaces, collection!, links));
      attachments.forEach(({ pin }, i) => links[i].pin(`${pins.directory}/${pin}`));
      const description = this.#describe(actors, attachments, compiled);
      this.#writeDescription(pins, description);
      draft = new RunningChain(pins.directory, description);
      draft.applyToSockets();
      return new RunningChain(pins.commit(), description);
    } catch (error) {
      draft?.releaseSockets();
      pins.rollback();
      throw error;
    } finally {
      for (const link of links) link.close();
      collection?.close();
    }
  }

  // What is asked for

  /** Actors as they will be done: `rate_limit` on one subflow is a matter of pacing, because mainline shares the window. */
  #resolve(): ResolvedActor[] {
    return this.actors.entries.map((entry) => {
      if (entry.policy !== rateLimit) return { policy: entry.policy, entry, description: describeActor(entry.policy) };
      const per = entry.per ?? (pinsSubflow(this.selectors.expression) ? "subflow" : "connection");
      if (per === "connection") return { policy: rateLimit, entry, description: describeActor(rateLimit) };
      const note = "rate_limit on one subflow: done by pacing, since subflows share the connection's window";
      return { policy: pace, entry, description: { ...describeActor(pace), note } };
    });
  }

  #source(actors: readonly ResolvedActor[]): ChainSource {
    return {
      name: this.name,
      selector: selectorTree(this.selectors.expression),
      actors: actors.map(({ policy, entry }): PolicyUse => ({
        policy,
        file: policyFile(policy),
        fromMember: memberUses(entry),
      })),
    };
  }

  #hooks(actors: readonly ResolvedActor[]): Hook[] {
    const onPackets = actors.filter(({ policy }) => policy.on === "packet");
    const onSockets = actors.length > onPackets.length;
    const packetHooks = onPackets.length > 0 ? this.#packetHooks(onPackets.map(({ policy }) => policy)) : [];
    if (packetHooks.length > 0 && (this.options.interfaces ?? []).length === 0)
      throw new ChainError(
        `Cannot attach chain ${this.name}: it has no interface; name those that carry the connections, for example interfaces: ["eth0"]`,
      );
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

  // Making it

  /** The value of the parameters map. */
  #parameters(compiled: CompiledChain, actors: readonly ResolvedActor[]): Uint8Array | undefined {
    const { parameters } = compiled.layout;
    if (parameters.length === 0) return undefined;
    const words = new Uint8Array(8 * parameters.length);
    const view = new DataView(words.buffer);
    actors.forEach(({ policy, entry }, index) => {
      for (const [name, type, input] of completeInputs(policy, entry.inputs, new Set(Object.keys(entry.fromMember)))) {
        const { offset } = parameters.find((slot) => slot.actor === index && slot.name === name)!;
        view.setBigUint64(offset, readWord(type, input, `${policy.name}.${name}`), true);
      }
    });
    return words;
  }

  #attach(
    hook: Hook,
    interfaces: readonly { name: string; index: number }[],
    { programs }: Collection,
    links: KernelLink[],
  ): Attachment[] {
    const program = programs[hook];
    if (isPacketHook(hook)) {
      return interfaces.map(({ name, index }) => {
        const link =
          hook === "xdp"
            ? attachXdp(program, { interface: name })
            : attachTcx(program, { interface: name, direction: hook === "tcx_ingress" ? "ingress" : "egress" });
        links.push(link);
        return { hook, interface: name, interfaceIndex: index, pin: `link_${hook}_${index}` };
      });
    }
    const { cgroup } = this.options;
    links.push(
      hook === "sock_ops" ? attachSockOps(program, cgroup === undefined ? {} : { cgroup }) : createIterLink(program),
    );
    return [{ hook, ...(hook === "sock_ops" && cgroup !== undefined && { cgroup }), pin: `link_${hook}` }];
  }

  #describe(
    actors: readonly ResolvedActor[],
    attachments: readonly Attachment[],
    { layout }: CompiledChain,
  ): ChainDescription {
    const { netns } = this.options;
    return {
      version: 1,
      name: this.name,
      selector: describeExpression(this.selectors.expression),
      actors: actors.map(({ description }) => description),
      attachments,
      ...(this.options.mode === "linked" && { mode: "linked" }),
      netns: { ...(netns !== undefined && { name: netns }), inode: netnsInode() },
      layout: {
        ...layout,
        parameters: layout.parameters.map((slot) => ({ ...slot, type: plainParameter(slot.type) })),
        sets: layout.sets.map(plainSet),
      },
      submitted: new Date().toISOString(),
    };
  }

  #writeDescription(pins: PinTransaction, description: ChainDescription): void {
    const value = encodeDescription(description);
    const about = createMap({
      name: "emptcp_about",
      type: "array",
      keySize: 4,
      valueSize: value.length,
      maxEntries: 1,
    });
    try {
      about.update(new Uint8Array(4), value);
      about.pin(`${pins.directory}/${aboutPin}`);
    } finally {
      about.close();
    }
  }
}

function describeActor({ name, on }: Actor): ActorDescription {
  return { name, ...(on === "socket" && { on }) };
}

/** Whether an expression can only match one subflow. */
function pinsSubflow(expression: Expression): boolean {
  switch (expression.op) {
    case "policy":
      return expression.policy.name === "subflow";
    case "and":
      return expression.terms.some(pinsSubflow);
    case "or":
      return expression.terms.every(pinsSubflow);
    default:
      return false;
  }
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
