/** Keeping the verifier from following what is alike on its own each time. */
import type { Variable } from "../ir/builder.ts";
import type { Block, Value } from "../ir/ir.ts";
import type { Lowering } from "./lowering.ts";

/**
 * The same value, of which the verifier knows nothing. Where many ways lead to one place with a different constant each, it
 * would follow everything behind that place once for each of them. Packet pointers also share what is checked of them with
 * everything a constant away.
 * @param readable a packet pointer of which two bytes are checked
 */
export function blur(lowering: Lowering, value: Value, readable: Value): Value {
  return blurBy(lowering, value, () => lowering.builder.loadFresh(2, readable, 0));
}

/** The same, by what `load` gives each time: 32 bits, always the same ones, of which the verifier does not know that. */
export function blurBy({ builder }: Lowering, value: Value, load: () => Value): Value {
  const is64 = value.type.kind === "int" && value.type.width === 64;
  const noise = (): Value => (is64 ? builder.zeroExtend(load()) : load());
  return builder.binary("sub", builder.binary("add", value, noise()), noise());
}

/** The same 64-bit value, of which the verifier knows that it is at most `maximum`; goes to `other` if it is not. */
export function conceal(lowering: Lowering, value: Value, readable: Value, maximum: number, other: Block): Value {
  const { builder } = lowering;
  const concealed = blur(lowering, value, readable);
  const bounded = builder.block();
  builder.branch("ule", concealed, builder.const(maximum, 64), bounded, other);
  lowering.enter(bounded);
  return concealed;
}

/**
 * The same packet pointer under another name: what is checked of it, the verifier does not note for the first. A header
 * whose length differs on each way to one place would have everything behind that place followed once for each.
 * @param pointer one of which two bytes are checked
 */
export function alias({ builder }: Lowering, pointer: Value): Value {
  const noise = (): Value => builder.zeroExtend(builder.loadFresh(2, pointer, 0));
  const zero = builder.binary("and", builder.binary("sub", noise(), noise()), builder.const(1, 64));
  return builder.pointerAdd(pointer, zero);
}

/** Forgets on which way each variable got its value; one that has the same on every way stays as it is. */
export function forgetWays(lowering: Lowering, variables: readonly Variable[], readable: Value): void {
  for (const variable of variables) {
    const value = lowering.builder.read(variable);
    if (value.op.op === "parameter") lowering.builder.write(variable, blur(lowering, value, readable));
  }
}
