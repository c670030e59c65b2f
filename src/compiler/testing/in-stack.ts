/** In-stack policies in tests: from a text, for a base. */
import { compileInStack, type CompiledInStack } from "../index.ts";
import type { Base, CongestionControl } from "../../policy/index.ts";
import { mainFile, policySource } from "./policy-source.ts";

/** Compiles the only policy of a text that may use everything of emptcp/policy without naming it. */
export function compileStack(text: string, base: Base, name = "emptcp_test"): CompiledInStack {
  const { reader, policies } = policySource(text);
  const [policy] = [...policies.values()].filter(({ on }) => on === "stack");
  return compileInStack({ name, policy: policy as CongestionControl, file: mainFile, base }, reader);
}
