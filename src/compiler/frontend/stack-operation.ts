/** One operation of an in-stack policy, or of what it builds on, as a function of its own. */
import { helpers } from "../../bpf/helpers.ts";
import type { Base } from "../../policy/stack.ts";
import { Builder } from "../ir/builder.ts";
import { int32, nothing, pointer, type IrFunction, type Value } from "../ir/ir.ts";
import { countersMap, policyNumber, sameCounter, type ChainLayout, type CounterSlot } from "../layout.ts";
import { Lowering, type ReturnTarget } from "./lowering.ts";
import { lowerRun, makeScratch, type PolicyUse } from "./members.ts";
import { baseFunctions, operations, type Operation, type OperationArgument, type OperationName } from "./operations.ts";
import type { PolicyProgram } from "./program.ts";
import type { LanguageValue } from "./values.ts";
import { SampleView } from "./views/samples.ts";
import { ConnectionView, StackSocketView } from "./views/stack.ts";
import { StateView } from "./views/state.ts";
import { loadField, tcpField } from "./views/subflow-facts.ts";

/** The operation of the base, with what it is given handed on. */
export function handOn(base: Base, name: OperationName): IrFunction {
  const { member, arguments: types, returns }: Operation = operations[name];
  const builder = new Builder(member);
  const context = builder.context();
  const args = types.map((type, i) => argument(builder, context, type, i));
  const result = builder.call(baseFunctions[base][name]!, args, returns ? int32 : nothing, "memory");
  builder.return(returns ? result : builder.const(0));
  return builder.function;
}

/** An operation as the policy defines it. @param base what it builds on, in congestion control */
export function lowerOperation(
  { file, policy }: PolicyUse,
  name: string,
  { member, arguments: types, returns }: Operation,
  base: Base | undefined,
  layout: ChainLayout,
  program: PolicyProgram,
): IrFunction {
  const builder = new Builder(member);
  const lowering = new Lowering(builder, program, "struct_ops");
  lowering.base = base;
  const context = builder.context();
  makeScratch(lowering, layout);
  const count = (slot: CounterSlot): void => countOne(lowering, layout, slot);
  lowering.effects = {
    notes: [],
    acted: () => {},
    cannot: (reason) => count({ kind: "cannot", actor: 0, reason }),
  };
  const number = policyNumber("actor", 0);
  lowering.emitter = { events: layout.events, policy: number, lost: () => count({ kind: "lostEvents" }) };
  const given = types.map((type, i) => argument(builder, context, type, i));
  lowering.subject = given[0];
  const views = given.map((value, i) => asLanguage(types[i], value, name));
  const state: LanguageValue = { kind: "view", view: new StateView(layout, "actor", 0) };

  const exit = builder.block();
  const variable = { name: "result", type: int32 };
  const run = program.findRun(file, policy.kind, policy.name, name);
  const target: ReturnTarget =
    returns === "u32" ? { kind: "variable", exit, variable, type: returns } : { kind: "nothing", exit };
  // What is returned where the verifier sees a way that does not exist: the window as it is.
  if (returns === "u32") builder.write(variable, loadField(lowering, given[0], tcpField("snd_cwnd"), "u32"));
  if (returns === "choice") {
    lowering.choice = { connection: given[0], made: variable };
    builder.write(variable, builder.const(0));
  }
  lowerRun(lowering, run, target, [...views, state]);
  builder.jump(exit);
  builder.position = undefined;
  lowering.enter(exit);
  builder.return(returns ? result(builder, builder.read(variable), returns) : builder.const(0));
  return builder.function;
}

/** EINVAL (include/uapi/asm-generic/errno-base.h). */
const invalid = 22;

/** What the kernel gets: a number, or for a choice 0, and an error where none was made. */
function result(builder: Builder, value: Value, returns: "u32" | "choice"): Value {
  if (returns === "u32") return value;
  const none = builder.binary("sub", value, builder.const(1));
  return builder.binary("and", none, builder.const(-invalid));
}

/** The kernel hands arguments over as words of 8 bytes, of which as many count as the argument has. */
function argument(builder: Builder, context: Value, type: OperationArgument, index: number): Value {
  if (type === "u8") return builder.load(1, context, 8 * index);
  if (type === "u32") return builder.load(4, context, 8 * index);
  return builder.load(8, context, 8 * index, pointer("kernel"));
}

function asLanguage(type: OperationArgument, value: Value, operation: string): LanguageValue {
  switch (type) {
    case "u8":
    case "u32":
      return { kind: "integer", type, value };
    case "socket":
      return { kind: "view", view: new StackSocketView(value, operation === "release") };
    case "connection":
      return { kind: "view", view: new ConnectionView(value, true) };
    default:
      return { kind: "view", view: new SampleView(type, value) };
  }
}

/** Adds one to a counter: few operations count, so each looks the counters up where it does. */
function countOne(lowering: Lowering, { counters }: ChainLayout, slot: CounterSlot): void {
  const { builder } = lowering;
  const [found, exit] = builder.blocks(2);
  const args = [builder.map(countersMap), lowering.scratch.zeroKey];
  const words = builder.call(helpers.mapLookupElem.number, args, pointer("map", true), "memory");
  builder.branch("ne", words, builder.const(0, 64), found, exit);
  lowering.enter(found);
  const at = 8 * counters.findIndex((other) => sameCounter(other, slot));
  builder.store(8, words, at, builder.binary("add", builder.load(8, words, at), builder.const(1, 64)));
  builder.jump(exit);
  lowering.enter(exit);
}
