/**
 * What the two modes of a chain share: lowering one selector or one actor, and counting. `fuse.ts` puts all of a chain's
 * members into one function, `linked.ts` each into one of its own.
 */
import ts from "typescript6";
import { helpers } from "../../bpf/helpers.ts";
import { int32, pointer, type Block, type Value } from "../ir/ir.ts";
import { countersMap, flowKeySize, sameCounter, type ChainLayout, type CounterSlot } from "../layout.ts";
import type { Policy } from "../../policy/policy.ts";
import { withReturn } from "./calls.ts";
import { branchOn } from "./conditions.ts";
import { lowerExpression } from "./expressions.ts";
import type { Lowering, ReturnTarget } from "./lowering.ts";
import type { RunFunction } from "./program.ts";
import { bindPattern, lowerBody } from "./statements.ts";
import type { LanguageValue } from "./values.ts";
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
}

/** What a chain is shown. */
export type Subject =
  | { readonly kind: "packet"; readonly packet: ParsedPacket }
  | { readonly kind: "socket"; readonly socket: ParsedSocket };

export class Members {
  readonly #lowering: Lowering;
  readonly #layout: ChainLayout;
  #counters!: Value;

  constructor(lowering: Lowering, layout: ChainLayout) {
    this.#lowering = lowering;
    this.#layout = layout;
  }

  /** Makes the memory that members use, finds the counters, one look-up for all; goes to `other` should there be none. */
  prepare(other: Block): void {
    const { builder } = this.#lowering;
    const found = builder.block();
    const key = builder.stack(4);
    builder.store(4, key, 0, builder.const(0));
    const recordSize = Math.max(8, ...this.#layout.state.map(({ size }) => size));
    this.#lowering.scratch = { flowKey: builder.stack(flowKeySize), record: builder.stack(recordSize) };
    this.#counters = builder.call(
      helpers.mapLookupElem.number,
      [builder.map(countersMap), key],
      pointer("map", true),
      "memory",
    );
    builder.branch("ne", this.#counters, builder.const(0, 64), found, other);
    this.#lowering.enter(found);
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
    this.#lower(this.#findRun(use), { kind: "condition", yes: matched, no }, [{ kind: "view", view }, params]);
    if (!this.#lowering.enter(matched)) return;
    this.count({ kind: "matched", selector });
    builder.jump(yes);
  }

  /** Lets actor number `index` of the chain act. */
  act(use: PolicyUse, index: number, subject: Subject): void {
    const lowering = this.#lowering;
    const { builder } = lowering;
    const exit = builder.block();
    const acted = { name: "acted", type: int32 };
    builder.write(acted, builder.const(0));
    lowering.effects = {
      acted: () => builder.write(acted, builder.const(1)),
      cannot: (reason) => this.count({ kind: "cannot", actor: index, reason }),
    };
    const view = subject.kind === "packet" ? new PacketView(subject.packet) : new SocketView(subject.socket);
    const params = new ParametersView(this.#layout.parameters.filter(({ actor }) => actor === index));
    const state = new StateView(this.#layout.state.filter(({ actor }) => actor === index));
    const args = [view, params, state].map((one): LanguageValue => ({ kind: "view", view: one }));
    if (subject.kind === "packet") subject.packet.removals.start(lowering);
    this.#lower(this.#findRun(use), { kind: "nothing", exit }, args);
    builder.jump(exit);
    lowering.enter(exit);
    lowering.effects = undefined;

    builder.position = undefined;
    if (subject.kind === "packet") subject.packet.removals.finish(lowering, subject.packet);
    // Added rather than branched on: what is known of a flag would make the verifier follow every way to it on its own.
    const flag = builder.read(acted);
    if (flag.op.op !== "const" || flag.op.value !== 0n)
      this.count({ kind: "acted", actor: index }, builder.zeroExtend(flag));
  }

  #findRun(use: PolicyUse): RunFunction {
    return this.#lowering.program.findRun(use.file, use.policy.kind, use.policy.name);
  }

  #lower(run: RunFunction, target: ReturnTarget, args: readonly LanguageValue[]): void {
    const lowering = this.#lowering;
    lowering.functions.push(run);
    run.parameters.forEach((parameter, i) => bindPattern(lowering, parameter.name, args[i] ?? { kind: "undefined" }));
    withReturn(lowering, target, () => {
      const body = run.body!;
      if (ts.isBlock(body)) return lowerBody(lowering, body);
      const value = lowerExpression(lowering, body);
      return target.kind === "condition" ? branchOn(lowering, value, body, target.yes, target.no) : undefined;
    });
    lowering.functions.pop();
  }
}
