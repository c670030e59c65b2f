/**
 * Fuses a chain into one IR function for one hook: the packet is parsed once, the selector expression becomes control flow,
 * and the actors follow one another. Counters are per CPU, one look-up for the whole chain.
 */
import ts from "#typescript";
import { Builder } from "../ir/builder.ts";
import type { Block, IrFunction, Value } from "../ir/ir.ts";
import type { ChainLayout } from "../layout.ts";
import { forgetWays } from "./conceal.ts";
import { cannotReason } from "./calls.ts";
import { decided, endPacket } from "./ending.ts";
import { hooks, isPacketHook, type Hook } from "./hooks.ts";
import { passOwn } from "./injection.ts";
import { Lowering } from "./lowering.ts";
import { Members, type PolicyUse, type Subject } from "./members.ts";
import { PacketVariables } from "./packet-memory.ts";
import { parsePacketProgram } from "./parse.ts";
import type { PolicyProgram, RunFunction } from "./program.ts";
import { assignsTo, callsMethod, endingsOf, makeSegments } from "./uses.ts";
import { refreshPacket } from "./refresh.ts";
import { eventsOfActor, wantedBy, type Wanted } from "./socket-events.ts";
import { refusable, refused } from "./socket-options.ts";
import { askForCallbacks, atEvents, parseIterated, parseSockOps } from "./views/socket.ts";

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

/** The reasons an actor may give, in the order of its source; `runs` are its functions. */
export function reasonsOfActor({ policy }: PolicyUse, runs: readonly RunFunction[], program: PolicyProgram): string[] {
  const reasons = new Set(runs.flatMap((run) => reasonsOf(run, program)));
  if (policy.on === "socket" && runs.some((run) => assignsTo(run, program, refusable))) reasons.add(refused);
  return [...reasons];
}

/** The reasons that a function gives. */
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

/** Methods of packets and options by which an actor takes segments apart and puts them together. */
const takingApart: ReadonlySet<string> = new Set(["remove", "save", "insert", "duplicate", "answer"]);

class Fusion {
  readonly #input: FuseInput;
  readonly #hook: Hook;
  readonly #builder: Builder;
  readonly #lowering: Lowering;
  readonly #members: Members;
  readonly #wanted: Wanted;
  #selector = 0;

  constructor(input: FuseInput, hook: Hook, program: PolicyProgram) {
    this.#input = input;
    this.#hook = hook;
    this.#builder = new Builder(input.name);
    this.#lowering = new Lowering(this.#builder, program, hook);
    this.#members = new Members(this.#lowering, input.layout);
    this.#wanted = wantedBy(
      input.actors.flatMap(({ policy, disabled }) => (policy.on === "socket" && !disabled ? [policy] : [])),
    );
  }

  run(): IrFunction {
    const builder = this.#builder;
    const lowering = this.#lowering;
    const context = builder.context();
    const [exit, matched] = [builder.block(), builder.block()];
    this.#members.prepare(exit);
    this.#members.useParameters(this.#members.parametersInForce());
    const subject = this.#parse(context, exit);
    this.#members.count({ kind: "seen" });
    const memory = new PacketVariables(lowering, this.#input.layout.state);
    lowering.packetMemory = memory;
    const { selector, actors } = this.#input;
    if (subject.kind === "packet" && this.#members.observe(selectorsOf(selector), actors, subject.packet))
      // Handshakes are looked at longer than other packets.
      refreshPacket(lowering, subject.packet, exit);
    this.#select(this.#input.selector, subject, matched, exit);
    if (lowering.enter(matched)) {
      let previous: PolicyUse | undefined;
      if (subject.kind === "socket") askForCallbacks(lowering, subject.socket, this.#wanted, exit);
      this.#input.actors.forEach((use, index) => {
        if (use.policy.on !== subject.kind || use.disabled) return;
        if (previous && subject.kind === "packet")
          // What an actor left for the end, without the ways to it: the verifier would follow the next one for each.
          forgetWays(lowering, decided(subject.packet), builder.read(subject.packet.tcp));
        // The ways of one that takes segments apart differ in more, and it is the one that they cost most.
        if (previous && subject.kind === "packet" && [previous, use].some((one) => this.#takesApart(one)))
          refreshPacket(lowering, subject.packet, exit);
        previous = use;
        if (subject.kind === "packet") memory.forgetWays(lowering, builder.read(subject.packet.tcp));
        if (subject.kind === "packet") return this.#members.act(use, index, subject);
        const [act, next] = builder.blocks(2);
        atEvents(lowering, subject.socket, eventsOfActor(use.policy), this.#wanted.events, act, next);
        if (lowering.enter(act)) {
          this.#members.act(use, index, subject);
          builder.position = undefined;
          builder.jump(next);
        }
        lowering.enter(next);
      });
      builder.position = undefined;
      if (subject.kind === "packet") {
        endPacket(lowering, subject.packet);
      }
      builder.jump(exit);
    }
    builder.position = undefined;
    lowering.enter(exit);
    builder.return(builder.const(hooks[this.#hook].proceed));
    return builder.function;
  }

  #takesApart({ file, policy }: PolicyUse): boolean {
    const { program } = this.#lowering;
    return callsMethod(program.findRun(file, policy.kind, policy.name), program, takingApart);
  }

  #parse(context: Value, exit: Block): Subject {
    const hook = this.#hook;
    if (isPacketHook(hook)) {
      if (hook !== "xdp" && makeSegments(endingsOf(this.#input.actors, this.#lowering.program)))
        passOwn(this.#lowering, context, exit);
      return { kind: "packet", packet: parsePacketProgram(this.#lowering, hook, context, exit) };
    }
    const socket =
      hook === "sock_ops"
        ? parseSockOps(this.#lowering, context, this.#wanted, exit)
        : parseIterated(this.#lowering, hook, context, exit);
    return { kind: "socket", socket };
  }

  #select(tree: SelectorTree, subject: Subject, yes: Block, no: Block): void {
    const builder = this.#builder;
    switch (tree.op) {
      case "any":
        return builder.jump(yes);
      case "not":
        return this.#select(tree.term, subject, no, yes);
      case "policy":
        return this.#members.select(tree.use, this.#selector++, subject, yes, no);
      default: {
        const last = tree.terms.length - 1;
        if (last < 0) return builder.jump(tree.op === "and" ? yes : no);
        tree.terms.forEach((term, i) => {
          const next = i === last ? undefined : builder.block();
          if (tree.op === "and") this.#select(term, subject, next ?? yes, no);
          else this.#select(term, subject, yes, next ?? no);
          if (next && !this.#lowering.enter(next)) builder.abandon();
        });
      }
    }
  }
}
