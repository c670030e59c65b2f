/** `base.congAvoid(socket, ack, acked)` and `reno.slowStart(socket, acked)`: calls of the kernel's own congestion control. */
import type ts from "#typescript";
import { int32, nothing, pointer, type Value } from "../ir/ir.ts";
import { lowerArguments } from "./calls.ts";
import { titleOf } from "./hooks.ts";
import { orOne, type Lowering } from "./lowering.ts";
import { baseFunctions, operations, renoFunctions, type FunctionArgument, type OperationName } from "./operations.ts";
import type { LanguageValue } from "./values.ts";
import { SampleView } from "./views/samples.ts";
import { StackSocketView, SubflowView } from "./views/stack.ts";

export function lowerKernelCall(
  lowering: Lowering,
  object: "base" | "reno",
  method: string,
  node: ts.CallExpression,
): LanguageValue {
  const what = `${object}.${method}()`;
  const { base } = lowering;
  if (!base) return lowering.fail("wrongHook", node, what, titleOf(lowering.hook));
  const signature = object === "base" ? operations[method as OperationName] : renoFunctions[method];
  const name = object === "base" ? baseFunctions[base][method as OperationName] : renoFunctions[method]?.function;
  if (!signature) return lowering.fail("unknownMember", node, object, `${method}()`);
  const values = lowerArguments(lowering, node);
  lowering.at(node);
  const args = signature.arguments.map((type, i) => argument(lowering, type, values[i], what, node));
  if (name === undefined) return { kind: "undefined" };
  const returns = "returns" in signature ? signature.returns : undefined;
  const result = lowering.builder.call(name, args, returns ? int32 : nothing, "memory");
  return returns ? lowering.integer(returns, result) : { kind: "undefined" };
}

/** `struct bpf_iter_mptcp_subflow`: two words. */
const iteratorBytes = 16;

/**
 * `schedule(subflow)`. Only what the kernel's own iterator gives may be scheduled, which the policy's walk does not use,
 * since nothing but its end may leave it: so the subflow is looked for once more.
 */
export function lowerSchedule(lowering: Lowering, subflow: LanguageValue | undefined, node: ts.Node): LanguageValue {
  const { builder, choice } = lowering;
  if (!choice) return lowering.fail("wrongHook", node, "schedule()", titleOf(lowering.hook));
  if (subflow?.kind !== "view" || !(subflow.view instanceof SubflowView)) return lowering.fail("scheduled", node);
  const wanted = subflow.view.subflow.context(lowering);
  const iterator = builder.stack(iteratorBytes);
  const [head, candidate, found, exit] = builder.blocks(4);
  builder.call("bpf_iter_mptcp_subflow_new", [iterator, choice.connection], int32, "memory");
  builder.jump(head);
  builder.enter(head);
  const context = builder.call("bpf_iter_mptcp_subflow_next", [iterator], pointer("kernel", true), "memory");
  builder.branch("ne", context, builder.const(0, 64), candidate, exit);
  lowering.enter(candidate);
  builder.branch("eq", context, wanted, found, head);
  builder.seal(head);
  lowering.enter(found);
  builder.call("mptcp_subflow_set_scheduled", [context, builder.const(1)], nothing, "memory");
  builder.write(choice.made, builder.const(1));
  builder.jump(exit);
  lowering.enter(exit);
  builder.call("bpf_iter_mptcp_subflow_destroy", [iterator], nothing, "memory");
  return { kind: "undefined" };
}

function argument(
  lowering: Lowering,
  type: FunctionArgument,
  value: LanguageValue | undefined,
  what: string,
  node: ts.CallExpression,
): Value {
  const view = value?.kind === "view" ? value.view : undefined;
  switch (type) {
    case "socket":
      return view instanceof StackSocketView ? view.pointer : lowering.fail("stackSocket", node, what);
    case "ackSample":
    case "rateSample":
      return view instanceof SampleView ? view.pointer : lowering.fail("stackSocket", node, what);
    case "connection":
      return lowering.fail("stackSocket", node, what);
    case "divisor":
      // The kernel divides by it without looking.
      return orOne(lowering, lowering.coerce(value ?? { kind: "undefined" }, "u32", node));
    default:
      return lowering.coerce(value ?? { kind: "undefined" }, type, node);
  }
}
