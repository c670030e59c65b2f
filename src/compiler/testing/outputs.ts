/** What pieces of policy compute, seen through a record that they write. */
import type { Hook } from "../index.ts";
import { chain, type VmRunner } from "./policy-harness.ts";
import { policySource } from "./policy-source.ts";
import { importEverything } from "./refusals.ts";

/**
 * An actor with the parameters a and b (u32), `flag`, and `word` (one, two or three), whose `body` may write the fields
 * x, y and z (u64) of `out`. `rest` goes on behind it; `./other.ts` is a file it may import.
 */
export function writing(body: string, rest = "", other = "", hook: Hook = "xdp"): VmRunner {
  const text = `${importEverything}
export const test = actor({
  name: "test",
  params: { a: u32, b: u32, flag: bool, word: choice("one", "two", "three") },
  state: { out: shared({ x: u64, y: u64, z: u64 }), seen: flows({ small: u8, half: u16, count: u32, total: u64, signed: i32 }) },
  run(packet, { a, b, flag, word }, { out, seen }) {
${body}
  },
});
${rest}`;
  const source = policySource(text, { "./other.ts": `${importEverything}\n${other}` });
  return chain({ source, actors: [["test", { a: 0, b: 0, flag: false, word: "one" }]] }).vm(hook);
}

export interface Inputs {
  readonly a?: number;
  readonly b?: number;
  readonly flag?: boolean;
  readonly word?: "one" | "two" | "three";
}

/** Sets the parameters, clears the record, runs `frame` and gives x, y and z. */
export function outputs(vm: VmRunner, frame: Uint8Array, inputs: Inputs = {}): readonly bigint[] {
  vm.set(0, { a: 0, b: 0, flag: false, word: "one", ...inputs });
  vm.changeState((name): Record<string, bigint> => (name === "0.out" ? { x: 0n, y: 0n, z: 0n } : {}));
  vm.run(frame);
  const { x, y, z } = vm.state()["0.out"][0].fields;
  return [x, y, z];
}
