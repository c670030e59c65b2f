/**
 * Fuses a chain into one IR function for one hook: the packet is parsed once, the selector expression becomes control flow,
 * and the actors follow one another. Counters are per CPU, one look-up for the whole chain.
 */
import ts from "typescript6";
import { helpers } from "../../bpf/helpers.ts";
import type { Policy } from "../../policy/policy.ts";
import { Builder } from "../ir/builder.ts";
import { int32, pointer, type Block, type IrFunction, type Value } from "../ir/ir.ts";
import { countersMap, flowKeySize, type ChainLayout, type CounterSlot } from "../layout.ts";
import { blur } from "./conceal.ts";
import { branchOn } from "./conditions.ts";
import { cannotReason, withReturn } from "./calls.ts";
import { lowerExpression } from "./expressions.ts";
import { hooks, isPacketHook, type Hook } from "./hooks.ts";
import { Lowering, type ReturnTarget } from "./lowering.ts";
import { parsePacketProgram } from "./parse.ts";
import type { PolicyProgram, RunFunction } from "./program.ts";
import { bindPattern, lowerBody } from "./statements.ts";
import type { LanguageValue, View } from "./values.ts";
import { PacketView, type ParsedPacket } from "./views/packet.ts";
import { ConstantsView, ParametersView, type ConstantValue } from "./views/params.ts";
import { parseIterated, parseSockOps, SocketPacketView, SocketView, type ParsedSocket } from "./views/socket.ts";
import { StateView } from "./views/state.ts";

/** A policy in a chain: what it is, the file that defines it, and, for a selector, its parameters. */
export interface PolicyUse {
  readonly policy: Policy;
  readonly file: string;
  readonly constants?: Readonly<Record<string, ConstantValue>>;
}

/** The selector expression. `any` matches everything; `and` and `or` are evaluated from left to right until decided. */
export type SelectorTree =
  | { readonly op: "any" }
  | { readonly op: "policy"; readonly use: PolicyUse }
  | { readonly op: "and" | "or"; readonly terms: readonly SelectorTree[] }
  | { readonly op: "not"; readonly term: SelectorTree };

/** The selectors of a tree, from left to right: the order of their counters. */
export function selectorsOf(tree: SelectorTree): PolicyUse[] {
  switch (tree.op) {
    case "any":
      return [];
    case "policy":
      return [tree.use];
    case "not":
      return selectorsOf(tree.term);
    default:
      return tree.terms.flatMap(selectorsOf);
  }
}

export interface FuseInput {
  readonly name: string;
  readonly selector: SelectorTree;
  readonly actors: readonly PolicyUse[];
  readonly layout: ChainLayout;
}

export function fuse(input: FuseInput, hook: Hook, program: PolicyProgram): IrFunction {
  return new Fusion(input, hook, program).run();
}

/** The reasons an actor may give, in the order of its source. */
export function reasonsOf(run: RunFunction, program: PolicyProgram): string[] {
  const reasons = new Set<string>();
  const visit = (node: ts.Node): void => {
    const name = ts.isCallExpression(node) && ts.isIdentifier(node.expression) && node.expression;
    if (name && program.languageName(name) === "cannot") {
      const reason = cannotReason(node);
      if (reason) reasons.add(reason);
    }
    ts.forEachChild(node, visit);
  };
  visit(run);
  return [...reasons];
}

type Subject =
  | { readonly kind: "packet"; readonly packet: ParsedPacket }
  | { readonly kind: "socket"; readonly socket: ParsedSocket };

class Fusion {
  readonly #input: FuseInput;
  readonly #hook: Hook;
  readonly #program: PolicyProgram;
  readonly #builder: Builder;
  readonly #lowering: Lowering;
  #counters!: Value;
  #selector = 0;

  constructor(input: FuseInput, hook: Hook, program: PolicyProgram) {
    this.#input = input;
    this.#hook = hook;
    this.#program = program;
    this.#builder = new Builder(input.name);
    this.#lowering = new Lowering(this.#builder, program, hook);
  }

  run(): IrFunction {
    const builder = this.#builder;
    const lowering = this.#lowering;
    const context = builder.context();
    const [exit, counting, matched] = [builder.block(), builder.block(), builder.block()];
    const key = builder.stack(4);
    builder.store(4, key, 0, builder.const(0));
    const recordSize = Math.max(8, ...this.#input.layout.state.map(({ size }) => size));
    lowering.scratch = { flowKey: builder.stack(flowKeySize), record: builder.stack(recordSize) };
    this.#counters = builder.call(
      helpers.mapLookupElem.number,
      [builder.map(countersMap), key],
      pointer("map", true),
      "memory",
    );
    builder.branch("ne", this.#counters, builder.const(0, 64), counting, exit);
    lowering.enter(counting);

    const subject = this.#parse(context, exit);
    this.#count({ kind: "seen" });
    const shown: View =
      subject.kind === "packet" ? new PacketView(subject.packet) : new SocketPacketView(subject.socket);
    this.#select(this.#input.selector, shown, matched, exit);
    if (lowering.enter(matched)) {
      let first = true;
      this.#input.actors.forEach((use, index) => {
        if (use.policy.on !== subject.kind) return;
        if (!first && subject.kind === "packet") this.#forgetWays(subject.packet);
        first = false;
        this.#act(use, index, subject);
      });
      builder.position = undefined;
      if (subject.kind === "packet") {
        subject.packet.checksum.finish(lowering, subject.packet);
        builder.return(builder.read(subject.packet.verdict));
      }
      builder.jump(exit);
    }
    builder.position = undefined;
    lowering.enter(exit);
    builder.return(builder.const(hooks[this.#hook].proceed));
    return builder.function;
  }

  #parse(context: Value, exit: Block): Subject {
    const hook = this.#hook;
    if (isPacketHook(hook)) return { kind: "packet", packet: parsePacketProgram(this.#lowering, hook, context, exit) };
    const socket =
      hook === "sock_ops"
        ? parseSockOps(this.#lowering, context, exit)
        : parseIterated(this.#lowering, hook, context, exit);
    return { kind: "socket", socket };
  }

  #count(slot: CounterSlot, by?: Value): void {
    const builder = this.#builder;
    const index = this.#input.layout.counters.findIndex((other) => sameSlot(other, slot));
    const sum = builder.binary("add", builder.load(8, this.#counters, 8 * index), by ?? builder.const(1, 64));
    builder.store(8, this.#counters, 8 * index, sum);
  }

  #select(tree: SelectorTree, packet: View, yes: Block, no: Block): void {
    const builder = this.#builder;
    switch (tree.op) {
      case "any":
        return builder.jump(yes);
      case "not":
        return this.#select(tree.term, packet, no, yes);
      case "policy":
        return this.#selectOne(tree.use, packet, yes, no);
      default: {
        const last = tree.terms.length - 1;
        if (last < 0) return builder.jump(tree.op === "and" ? yes : no);
        tree.terms.forEach((term, i) => {
          const next = i === last ? undefined : builder.block();
          if (tree.op === "and") this.#select(term, packet, next ?? yes, no);
          else this.#select(term, packet, yes, next ?? no);
          if (next && !this.#lowering.enter(next)) builder.abandon();
        });
      }
    }
  }

  #selectOne(use: PolicyUse, packet: View, yes: Block, no: Block): void {
    const builder = this.#builder;
    const selector = this.#selector++;
    const matched = builder.block();
    const run = this.#findRun(use);
    const params: LanguageValue = { kind: "view", view: new ConstantsView(use.constants ?? {}) };
    this.#lower(run, { kind: "condition", yes: matched, no }, [{ kind: "view", view: packet }, params]);
    if (!this.#lowering.enter(matched)) return;
    this.#count({ kind: "matched", selector });
    builder.jump(yes);
  }

  #act(use: PolicyUse, index: number, subject: Subject): void {
    const builder = this.#builder;
    const lowering = this.#lowering;
    const { layout } = this.#input;
    const exit = builder.block();
    const acted = { name: "acted", type: int32 };
    builder.write(acted, builder.const(0));
    lowering.effects = {
      acted: () => builder.write(acted, builder.const(1)),
      cannot: (reason) => this.#count({ kind: "cannot", actor: index, reason }),
    };
    const view = subject.kind === "packet" ? new PacketView(subject.packet) : new SocketView(subject.socket);
    const params = new ParametersView(layout.parameters.filter(({ actor }) => actor === index));
    const state = new StateView(layout.state.filter(({ actor }) => actor === index));
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
      this.#count({ kind: "acted", actor: index }, builder.zeroExtend(flag));
  }

  /** What an actor left for the end of the chain, without the ways to it: the verifier would follow the next one for each. */
  #forgetWays(packet: ParsedPacket): void {
    const builder = this.#builder;
    for (const variable of [packet.verdict, packet.checksum.difference]) {
      const value = builder.read(variable);
      if (value.op.op === "parameter") builder.write(variable, blur(this.#lowering, value, builder.read(packet.tcp)));
    }
  }

  #findRun(use: PolicyUse): RunFunction {
    return this.#program.findRun(use.file, use.policy.kind, use.policy.name);
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

function sameSlot(a: CounterSlot, b: CounterSlot): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
