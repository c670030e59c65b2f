/**
 * A chain as one program per sub-policy, chained by tail calls (paper 000, section IV-A), with exactly the meaning of
 * `fuse.ts`. The entry finds the packet's headers and goes to the step that the root names; each member's program takes the
 * packet over, does its turn and goes on to its step's successor; the end applies what they decided.
 */
import { helpers } from "../../bpf/helpers.ts";
import { Builder, type Variable } from "../ir/builder.ts";
import { int32, int64, type Block, type IrFunction, type Value } from "../ir/ir.ts";
import type { ChainLayout } from "../layout.ts";
import { endProgram, leave, programsMap, stepFields, stepSize, stepsMap } from "../steps.ts";
import { Carried } from "./carried.ts";
import { endPacket } from "./ending.ts";
import { passOwn } from "./injection.ts";
import { hooks, type PacketHook } from "./hooks.ts";
import { Lowering } from "./lowering.ts";
import { Members, type PolicyUse, type Subject } from "./members.ts";
import { parsePacketProgram } from "./parse.ts";
import type { PolicyProgram } from "./program.ts";
import { makeSegments, type Ending } from "./uses.ts";

/** One program of a linked chain. Members have the number that their counters and state carry. */
export type LinkedPart =
  | { readonly part: "entry" }
  | { readonly part: "selector"; readonly use: PolicyUse; readonly selector: number }
  | { readonly part: "actor"; readonly use: PolicyUse; readonly actor: number }
  | { readonly part: "end" };

export interface LinkInput {
  readonly name: string;
  readonly layout: ChainLayout;
  readonly selectors: readonly PolicyUse[];
  readonly actors: readonly PolicyUse[];
  /** How many programs the arrays hold. */
  readonly programs: number;
  /** What actors may ask for at the end. */
  readonly asked: ReadonlySet<Ending>;
}

export function link(input: LinkInput, part: LinkedPart, hook: PacketHook, program: PolicyProgram): IrFunction {
  return new LinkedProgram(input, hook, program).make(part);
}

class LinkedProgram {
  readonly #input: LinkInput;
  readonly #hook: PacketHook;
  readonly #builder: Builder;
  readonly #lowering: Lowering;
  readonly #members: Members;
  readonly #context: Value;
  /** Where the packet is let go on untouched. */
  readonly #exit: Block;
  /** Where a packet goes whose headers are not where the entry found them. */
  readonly #lost: Block;
  #carried!: Carried;

  constructor(input: LinkInput, hook: PacketHook, program: PolicyProgram) {
    this.#input = input;
    this.#hook = hook;
    this.#builder = new Builder(input.name);
    this.#lowering = new Lowering(this.#builder, program, hook);
    this.#members = new Members(this.#lowering, input.layout);
    this.#context = this.#builder.context();
    this.#exit = this.#builder.block();
    this.#lost = this.#builder.block();
  }

  make(part: LinkedPart): IrFunction {
    const builder = this.#builder;
    this.#members.prepare(this.#exit);
    this.#carried = Carried.find(this.#lowering, this.#input.layout, this.#exit);
    this.#lowering.packetMemory = this.#carried;
    switch (part.part) {
      case "entry":
        this.#entry();
        break;
      case "selector":
        this.#selector(part.use, part.selector);
        break;
      case "actor":
        this.#actor(part.use, part.actor);
        break;
      case "end":
        this.#end();
    }
    builder.position = undefined;
    if (this.#lowering.enter(this.#lost)) {
      this.#members.count({ kind: "lost" });
      builder.jump(this.#exit);
    }
    this.#lowering.enter(this.#exit);
    builder.return(builder.const(hooks[this.#hook].proceed));
    return builder.function;
  }

  #entry(): void {
    const { asked, layout, selectors, actors } = this.#input;
    if (this.#hook !== "xdp" && makeSegments(asked)) passOwn(this.#lowering, this.#context, this.#exit);
    const packet = parsePacketProgram(this.#lowering, this.#hook, this.#context, this.#exit);
    this.#members.count({ kind: "seen" });
    this.#carried.clear(this.#lowering, layout);
    const parameters = this.#members.parametersInForce();
    if (parameters) this.#carried.setParameters(this.#lowering, parameters);
    this.#members.observe(selectors, actors, packet);
    this.#carried.save(this.#lowering, packet);
    this.#goTo(this.#builder.load(1, this.#builder.mapValue(stepsMap, 0), stepFields.yes));
  }

  #selector(use: PolicyUse, selector: number): void {
    const builder = this.#builder;
    const [yes, no, on] = builder.blocks(3);
    const next: Variable = { name: "next_step", type: int32 };
    this.#members.select(use, selector, this.#restore(), yes, no);
    builder.position = undefined;
    for (const [block, successor] of [
      [yes, stepFields.yes],
      [no, stepFields.no],
    ] as const) {
      if (!this.#lowering.enter(block)) continue;
      builder.write(next, this.#successor(successor));
      builder.jump(on);
    }
    this.#lowering.enter(on);
    this.#goTo(builder.read(next));
  }

  #actor(use: PolicyUse, actor: number): void {
    const subject = this.#restore();
    this.#members.useParameters(this.#carried.parameters(this.#lowering));
    this.#members.act(use, actor, subject);
    this.#carried.save(this.#lowering, subject.packet);
    this.#goTo(this.#successor(stepFields.yes));
  }

  #end(): void {
    const { packet } = this.#restore();
    const { asked } = this.#input;
    packet.injection.expect((["insert", "duplicate", "answer"] as const).filter((kind) => asked.has(kind)));
    packet.forwarding.expect((["redirect", "mirror"] as const).filter((where) => asked.has(where)));
    endPacket(this.#lowering, packet);
  }

  #restore(): Subject & { kind: "packet" } {
    const packet = this.#carried.restore(this.#lowering, this.#hook, this.#context, this.#lost);
    return { kind: "packet", packet };
  }

  /** The number of a step that follows the one being done. */
  #successor(field: number): Value {
    return this.#builder.load(1, this.#step(this.#carried.step(this.#lowering)), field);
  }

  #goTo(step: Value): void {
    const builder = this.#builder;
    const further = builder.block();
    builder.branch("ne", step, builder.const(leave), further, this.#exit);
    this.#lowering.enter(further);
    this.#carried.setStep(this.#lowering, step);
    const missing = builder.block();
    this.#callOne(builder.load(1, this.#step(step), stepFields.program), 0, this.#input.programs, missing);
    // Still here: the program is missing. What was decided so far is applied all the same.
    this.#lowering.enter(missing);
    this.#members.count({ kind: "lost" });
    this.#call(builder.const(endProgram, 64));
    builder.jump(this.#exit);
  }

  /**
   * Calls `program`, known to be one of `from` to `to`. A tail call to a constant index becomes a direct jump, one to a variable
   * index an indirect one, which costs ten times as much on processors that need retpolines: so each known program has a
   * call of its own, found by halving. Those that came later are called by variable index.
   */
  #callOne(program: Value, from: number, to: number, missing: Block): void {
    const builder = this.#builder;
    if (from === to) {
      this.#call(from === this.#input.programs ? builder.zeroExtend(program) : builder.const(from, 64));
      return builder.jump(missing);
    }
    const middle = Math.ceil((from + to) / 2);
    const [below, above] = builder.blocks(2);
    builder.branch("ult", program, builder.const(middle), below, above);
    this.#lowering.enter(below);
    this.#callOne(program, from, middle - 1, missing);
    this.#lowering.enter(above);
    this.#callOne(program, middle, to, missing);
  }

  /** The address of a step. */
  #step(number: Value): Value {
    const builder = this.#builder;
    // A byte: the verifier must see that it is one, wherever the number was kept.
    const byte = builder.binary("and", builder.zeroExtend(number), builder.const(0xff, 64));
    const offset = builder.binary("mul", byte, builder.const(stepSize, 64));
    return builder.pointerAdd(builder.mapValue(stepsMap, 0), offset);
  }

  /** @param index 64 bits wide */
  #call(index: Value): void {
    const builder = this.#builder;
    builder.call(
      helpers.tailCall.number,
      [this.#context, builder.map(programsMap(this.#hook)), index],
      int64,
      "packet",
    );
  }
}
