/**
 * A chain as one program per sub-policy, chained by tail calls (paper 000, section IV-A), with exactly the meaning of
 * `fuse.ts`. The entry finds the packet's headers and goes to the step that the root names; each member's program takes the
 * packet over, does its turn and goes on to its step's successor; the end applies what they decided.
 */
import { helpers } from "../../bpf/helpers.ts";
import { Builder } from "../ir/builder.ts";
import { int64, type Block, type IrFunction, type Value } from "../ir/ir.ts";
import type { ChainLayout } from "../layout.ts";
import { endProgram, leave, programsMap, stepFields, stepSize, stepsMap } from "../steps.ts";
import { Carried } from "./carried.ts";
import { hooks, type PacketHook } from "./hooks.ts";
import { Lowering } from "./lowering.ts";
import { Members, type PolicyUse, type Subject } from "./members.ts";
import { parsePacketProgram } from "./parse.ts";
import type { PolicyProgram } from "./program.ts";

/** One program of a linked chain. Members have the number that their counters and state carry. */
export type LinkedPart =
  | { readonly part: "entry" }
  | { readonly part: "selector"; readonly use: PolicyUse; readonly selector: number }
  | { readonly part: "actor"; readonly use: PolicyUse; readonly actor: number }
  | { readonly part: "end" };

export interface LinkInput {
  readonly name: string;
  readonly layout: ChainLayout;
}

export function link(input: LinkInput, part: LinkedPart, hook: PacketHook, program: PolicyProgram): IrFunction {
  return new LinkedProgram(input, hook, program).make(part);
}

class LinkedProgram {
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
    this.#carried = Carried.find(this.#lowering, this.#exit);
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
    const packet = parsePacketProgram(this.#lowering, this.#hook, this.#context, this.#exit);
    this.#members.count({ kind: "seen" });
    this.#carried.save(this.#lowering, packet);
    this.#goTo(this.#builder.load(1, this.#builder.mapValue(stepsMap, 0), stepFields.yes));
  }

  #selector(use: PolicyUse, selector: number): void {
    const [yes, no] = this.#builder.blocks(2);
    this.#members.select(use, selector, this.#restore(), yes, no);
    this.#builder.position = undefined;
    if (this.#lowering.enter(yes)) this.#goOn(stepFields.yes);
    if (this.#lowering.enter(no)) this.#goOn(stepFields.no);
  }

  #actor(use: PolicyUse, actor: number): void {
    const subject = this.#restore();
    this.#members.act(use, actor, subject);
    this.#carried.save(this.#lowering, subject.packet);
    this.#goOn(stepFields.yes);
  }

  #end(): void {
    const { packet } = this.#restore();
    packet.checksum.finish(this.#lowering, packet);
    this.#builder.return(this.#builder.read(packet.verdict));
  }

  #restore(): Subject & { kind: "packet" } {
    const packet = this.#carried.restore(this.#lowering, this.#hook, this.#context, this.#lost);
    return { kind: "packet", packet };
  }

  /** On to a successor of the step that is being done. */
  #goOn(successor: number): void {
    const builder = this.#builder;
    this.#goTo(builder.load(1, this.#step(this.#carried.step(this.#lowering)), successor));
  }

  #goTo(step: Value): void {
    const builder = this.#builder;
    const further = builder.block();
    builder.branch("ne", step, builder.const(leave), further, this.#exit);
    this.#lowering.enter(further);
    this.#carried.setStep(this.#lowering, step);
    this.#call(builder.load(1, this.#step(step), stepFields.program));
    // Still here: the program is missing. What was decided so far is applied all the same.
    this.#members.count({ kind: "lost" });
    this.#call(builder.const(endProgram));
    builder.jump(this.#exit);
  }

  /** The address of a step. */
  #step(number: Value): Value {
    const builder = this.#builder;
    // A byte: the verifier must see that it is one, wherever the number was kept.
    const byte = builder.binary("and", builder.zeroExtend(number), builder.const(0xff, 64));
    const offset = builder.binary("mul", byte, builder.const(stepSize, 64));
    return builder.pointerAdd(builder.mapValue(stepsMap, 0), offset);
  }

  #call(program: Value): void {
    const builder = this.#builder;
    const index = builder.zeroExtend(program);
    builder.call(
      helpers.tailCall.number,
      [this.#context, builder.map(programsMap(this.#hook)), index],
      int64,
      "packet",
    );
  }
}
