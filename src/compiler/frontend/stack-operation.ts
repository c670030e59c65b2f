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
import { StackSocketView } from "./views/stack.ts";
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

/** An operation as the policy defines it. */
export function lowerOperation(
  { file, policy }: PolicyUse,
  name: OperationName,
  base: Base,
  layout: ChainLayout,
  program: PolicyProgram,
): IrFunction {
  const { member, arguments: types, returns }: Operation = operations[name];
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
  const views = given.map((value, i) => asLanguage(types[i], value, name));
  const state: LanguageValue = { kind: "view", view: new StateView(layout, "actor", 0) };

  const exit = builder.block();
  const variable = { name: "result", type: int32 };
  const target: ReturnTarget = returns
    ? { kind: "variable", exit, variable, type: returns }
    : { kind: "nothing", exit };
  // What is returned where the verifier sees a way that does not exist: the window as it is.
  if (returns) builder.write(variable, loadField(lowering, given[0], tcpField("snd_cwnd"), "u32"));
  lowerRun(lowering, program.findRun(file, policy.kind, policy.name, name), target, [...views, state]);
  builder.jump(exit);
  builder.position = undefined;
  lowering.enter(exit);
  builder.return(returns ? builder.read(variable) : builder.const(0));
  return builder.function;
}

/** The kernel hands arguments over as words of 8 bytes, of which as many count as the argument has. */
function argument(builder: Builder, context: Value, type: OperationArgument, index: number): Value {
  if (type === "u8") return builder.load(1, context, 8 * index);
  if (type === "u32") return builder.load(4, context, 8 * index);
  return builder.load(8, context, 8 * index, pointer("kernel"));
}

function asLanguage(type: OperationArgument, value: Value, operation: OperationName): LanguageValue {
  switch (type) {
    case "u8":
    case "u32":
      return { kind: "integer", type, value };
    case "socket":
      return { kind: "view", view: new StackSocketView(value, operation === "release") };
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
