/**
 * What the two modes of a chain share: lowering one selector or one actor, and counting. `fuse.ts` puts all of a chain's
 * members into one function, `linked.ts` each into one of its own.
 */
import ts from "#typescript";
import { helpers } from "../../bpf/helpers.ts";
import { int32, pointer, type Block, type Value } from "../ir/ir.ts";
import {
  countersMap,
  flowKeySize,
  parameterCopies,
  parameterWords,
  parametersMap,
  policyNumber,
  sameCounter,
  type ChainLayout,
  type CounterSlot,
} from "../layout.ts";
import type { Policy } from "../../policy/policy.ts";
import { withReturn } from "./calls.ts";
import { forgetWays } from "./conceal.ts";
import { branchOn } from "./conditions.ts";
import { decided } from "./ending.ts";
import { lowerExpression } from "./expressions.ts";
import { endOfTurn, type Lowering, type ReturnTarget } from "./lowering.ts";
import type { RunFunction } from "./program.ts";
import { refreshPacket } from "./refresh.ts";
import type { MapSpec } from "../../bpf/spec.ts";
import type { SetSlot } from "../sets.ts";
import { MatchedMembers } from "./sets.ts";
import { bindPattern, lowerBody } from "./statements.ts";
import type { LanguageValue } from "./values.ts";
import { hashMemory } from "./hashes.ts";
import { walksOptions } from "./uses.ts";
import { PacketView, type ParsedPacket } from "./views/packet.ts";
import { ConstantsView, ParametersView, type ConstantValue } from "./views/params.ts";
import { SocketPacketView, SocketView, type ParsedSocket } from "./views/socket.ts";
import { StateView } from "./views/state.ts";

/** A policy in a chain: what it is, the file that defines it, and, for a selector, its parameters. */
export interface PolicyUse {
  readonly policy: Policy;
  readonly file: string;
  readonly constants?: Readonly<Record<string, ConstantValue>>;
  /** An actor that is left out for now; its parameters, counters and state keep their places. */
  readonly disabled?: true;
  /** A selector's set of members. */
  readonly set?: SetSlot;
  /** What the set starts with. */
  readonly members?: MapSpec["contents"];
  /** Parameters of an actor that come from the member matched. */
  readonly fromMember?: Readonly<Record<string, MemberUse>>;
}

/** A parameter of the members of a selector's set. */
export interface MemberUse {
  /** With a `set`. */
  readonly selector: PolicyUse;
  readonly field: string;
}

/** What a chain is shown. */
export type Subject =
  | { readonly kind: "packet"; readonly packet: ParsedPacket }
  | { readonly kind: "socket"; readonly socket: ParsedSocket };

export class Members {
  readonly #lowering: Lowering;
  readonly #layout: ChainLayout;
  readonly #matched: MatchedMembers;
  #counters!: Value;
  #words: Value | undefined;

  constructor(lowering: Lowering, layout: ChainLayout) {
    this.#lowering = lowering;
    this.#layout = layout;
    this.#matched = new MatchedMembers(lowering);
  }

  /** Makes the memory that members use, finds the counters, one look-up for all; goes to `other` should there be none. */
  prepare(other: Block): void {
    const { builder } = this.#lowering;
    const found = builder.block();
    makeScratch(this.#lowering, this.#layout);
    this.#counters = builder.call(
      helpers.mapLookupElem.number,
      [builder.map(countersMap), this.#lowering.scratch.zeroKey],
      pointer("map", true),
      "memory",
    );
    builder.branch("ne", this.#counters, builder.const(0, 64), found, other);
    this.#lowering.enter(found);
  }

  /** The number of the copy of the parameters that is in force, read once per packet; undefined where there is only one. */
  parametersInForce(): Value | undefined {
    const places = parameterCopies(parameterWords(this.#layout.parameters));
    return (
      places && this.#lowering.builder.loadFresh(1, this.#lowering.builder.mapValue(parametersMap, places.number), 0)
    );
  }

  /** Lets actors read their parameters from the copy of that number. */
  useParameters(number: Value | undefined): void {
    const { builder } = this.#lowering;
    const places = parameterCopies(parameterWords(this.#layout.parameters));
    if (!places || !number) return;
    const bounded = builder.binary("and", number, builder.const(places.copies - 1));
    const distance = builder.binary("shl", bounded, builder.const(Math.log2(places.stride)));
    this.#words = builder.pointerAdd(builder.mapValue(parametersMap, 0), builder.zeroExtend(distance));
  }

  count(slot: CounterSlot, by?: Value): void {
    const { builder } = this.#lowering;
    const index = this.#layout.counters.findIndex((other) => sameCounter(other, slot));
    const sum = builder.binary("add", builder.load(8, this.#counters, 8 * index), by ?? builder.const(1, 64));
    builder.store(8, this.#counters, 8 * index, sum);
  }

  /** Goes to `yes` or `no`, as selector number `selector` says. */
  select(use: PolicyUse, selector: number, subject: Subject, yes: Block, no: Block): void {
    const { builder } = this.#lowering;
    const matched = builder.block();
    const view = subject.kind === "packet" ? new PacketView(subject.packet) : new SocketPacketView(subject.socket);
    const params: LanguageValue = { kind: "view", view: new ConstantsView(use.constants ?? {}) };
    const state: LanguageValue = { kind: "view", view: new StateView(this.#layout, "selector", selector) };
    this.#emitAs("selector", selector);
    this.#lowering.packet = subject.kind === "packet" ? subject.packet : undefined;
    if (use.set) this.#lookUp(use, selector, subject, matched, no);
    else
      lowerRun(this.#lowering, this.#findRun(use), { kind: "condition", yes: matched, no }, [
        { kind: "view", view },
        params,
        state,
      ]);
    if (!this.#lowering.enter(matched)) return;
    this.count({ kind: "matched", selector });
    builder.jump(yes);
  }

  /** Lets actor number `index` of the chain act. */
  act(use: PolicyUse, index: number, subject: Subject): void {
    const lowering = this.#lowering;
    const { builder } = lowering;
    const exit = builder.block();
    const isRelease = lowering.hook === "iter_tcp_release";
    const lifts = isRelease && use.policy.releases !== true;
    const acted = { name: "acted", type: int32 };
    builder.write(acted, builder.const(0));
    lowering.effects = {
      notes: subject.kind === "packet" ? [acted, subject.packet.removals.marks, ...decided(subject.packet)] : [acted],
      acted: () => builder.write(acted, builder.const(1)),
      cannot: (reason) => this.count({ kind: "cannot", actor: index, reason }),
    };
    const view = subject.kind === "packet" ? new PacketView(subject.packet) : new SocketView(subject.socket, lifts);
    const params = new ParametersView(
      this.#layout.parameters.filter(({ actor }) => actor === index),
      this.#words,
      this.#fromMember(use),
    );
    const state = new StateView(this.#layout, "actor", index);
    this.#emitAs("actor", index);
    lowering.packet = subject.kind === "packet" ? subject.packet : undefined;
    const args = [view, params, state].map((one): LanguageValue => ({ kind: "view", view: one }));
    if (subject.kind === "packet") subject.packet.removals.start(lowering);
    const run = this.#findRun(use, isRelease && !lifts ? "release" : "run");
    lowerRun(lowering, run, { kind: "nothing", exit }, args);
    builder.jump(exit);
    lowering.enter(exit);
    lowering.effects = undefined;

    builder.position = undefined;
    if (subject.kind === "packet" && subject.packet.removals.used) {
      const { packet } = subject;
      forgetWays(lowering, [acted, ...decided(packet)], builder.read(packet.tcp));
      packet.removals.finish(lowering, packet);
    }
    // Added rather than branched on: what is known of a flag would make the verifier follow every way to it on its own.
    const flag = builder.read(acted);
    if (flag.op.op !== "const" || flag.op.value !== 0n)
      this.count({ kind: "acted", actor: index }, builder.zeroExtend(flag));
  }

  /** Goes to `yes` when the packet is a member of the set of selector number `selector`. */
  #lookUp(use: PolicyUse, selector: number, subject: Subject, yes: Block, no: Block): void {
    const run = this.#lowering.program.findRun(use.file, use.policy.kind, use.policy.name, "member");
    const view = subject.kind === "packet" ? new PacketView(subject.packet) : new SocketPacketView(subject.socket);
    const params: LanguageValue = { kind: "view", view: new ConstantsView(use.constants ?? {}) };
    const state: LanguageValue = { kind: "view", view: new StateView(this.#layout, "selector", selector) };
    this.#matched.lookUp(use.set!, run, [{ kind: "view", view }, params, state], yes, no);
  }

  /** How an actor gets at its member's parameters: in a linked chain it was another program that found the member. */
  #fromMember({ fromMember = {} }: PolicyUse): (name: string) => LanguageValue | undefined {
    const memory = this.#lowering.packetMemory?.memberWords;
    for (const { selector, field } of Object.values(fromMember))
      if (memory && !this.#matched.has(selector.set!.name, field)) this.#matched.recall(selector.set!, field, memory);
    return (name) => {
      const use = fromMember[name];
      return use && this.#matched.parameter(use.selector.set!.name, use.field);
    };
  }

  /** What policies want to see of every packet: each function once for the memory that it fills. */
  observe(selectors: readonly PolicyUse[], actors: readonly PolicyUse[], packet: ParsedPacket): boolean {
    const lowering = this.#lowering;
    const done = new Set<string>();
    const observe = (kind: Policy["kind"]) => (use: PolicyUse, index: number) => {
      if (!use.policy.observes || use.disabled) return;
      const run = lowering.program.findRun(use.file, kind, use.policy.name, "observe");
      const state = new StateView(this.#layout, kind, index);
      const { file, line, column } = lowering.program.position(run);
      const what = [file, line, column, ...state.mapsOf(namesTaken(run))].join();
      if (done.has(what)) return;
      done.add(what);
      const exit = lowering.builder.block();
      this.#emitAs(kind, index);
      lowering.packet = packet;
      const args = [new PacketView(packet), state].map((view): LanguageValue => ({ kind: "view", view }));
      lowerRun(lowering, run, { kind: "nothing", exit }, args);
      lowering.builder.jump(exit);
      lowering.enter(exit);
      lowering.builder.position = undefined;
    };
    selectors.forEach(observe("selector"));
    actors.forEach(observe("actor"));
    return done.size > 0;
  }

  #emitAs(kind: Policy["kind"], index: number): void {
    const { events } = this.#layout;
    const lost = (): void => this.count({ kind: "lostEvents" });
    this.#lowering.emitter = { events, policy: policyNumber(kind, index), lost };
  }

  #findRun(use: PolicyUse, name?: string): RunFunction {
    return this.#lowering.program.findRun(use.file, use.policy.kind, use.policy.name, name);
  }
}

/** Lowers a policy's own function. */
export function lowerRun(
  lowering: Lowering,
  run: RunFunction,
  target: ReturnTarget,
  args: readonly LanguageValue[],
): void {
  lowering.functions.push(run);
  withReturn(lowering, target, () => {
    // The verifier follows a walk over options for long: not once for each way on which parsing led here.
    if (lowering.packet && lowering.manyWays && walksOptions(run, lowering.program))
      refreshPacket(lowering, lowering.packet, endOfTurn(lowering));
    run.parameters.forEach((parameter, i) => bindPattern(lowering, parameter.name, args[i] ?? { kind: "undefined" }));
    const body = run.body!;
    if (ts.isBlock(body)) return lowerBody(lowering, body);
    const value = lowerExpression(lowering, body);
    if (target.kind === "condition") return branchOn(lowering, value, body, target.yes, target.no);
    if (target.kind === "variable") lowering.builder.write(target.variable, lowering.asType(value, target.type, body));
  });
  lowering.functions.pop();
}

/** Makes the memory that arguments of map helpers are written to; what no program uses costs nothing. */
export function makeScratch(lowering: Lowering, { sets, state }: ChainLayout): void {
  const { builder } = lowering;
  const zeroKey = builder.stack(4);
  builder.store(4, zeroKey, 0, builder.const(0));
  const keySize = Math.max(flowKeySize, ...sets.map((set) => set.keySize));
  const recordSize = Math.max(8, ...state.map(({ size, kind }) => (kind === "perPacket" ? 0 : size)));
  // Both are filled anew for each use.
  const shares = recordSize > hashMemory / 4;
  const record = builder.stack(shares ? Math.max(recordSize, hashMemory) : recordSize);
  const hash = shares ? record : builder.stack(hashMemory);
  lowering.scratch = { flowKey: builder.stack(keySize), record, zeroKey, hash };
}

/** The state that an observing function takes by name, as `(packet, { connections })`; undefined when it takes all of it. */
function namesTaken(run: RunFunction): string[] | undefined {
  const pattern = run.parameters[1]?.name;
  if (!pattern) return [];
  if (!ts.isObjectBindingPattern(pattern)) return undefined;
  return pattern.elements.map(({ name, propertyName }) => (propertyName ?? name).getText());
}
