/** `base.congAvoid(socket, ack, acked)` and `reno.slowStart(socket, acked)`: calls of the kernel's own congestion control. */
import type ts from "typescript6";
import { int32, nothing, type Value } from "../ir/ir.ts";
import { lowerArguments } from "./calls.ts";
import { titleOf } from "./hooks.ts";
import { orOne, type Lowering } from "./lowering.ts";
import { baseFunctions, operations, renoFunctions, type FunctionArgument, type OperationName } from "./operations.ts";
import type { LanguageValue } from "./values.ts";
import { SampleView } from "./views/samples.ts";
import { StackSocketView } from "./views/stack.ts";

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
    case "divisor":
      // The kernel divides by it without looking.
      return orOne(lowering, lowering.coerce(value ?? { kind: "undefined" }, "u32", node));
    default:
      return lowering.coerce(value ?? { kind: "undefined" }, type, node);
  }
}
