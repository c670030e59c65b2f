/** Keeping the verifier from following what is alike on its own each time. */
import type { Block, Value } from "../ir/ir.ts";
import type { Lowering } from "./lowering.ts";

/**
 * The same value, of which the verifier knows no more than that it is at most `maximum`. Where many ways lead to one place
 * with a different constant each, it would follow everything behind that place once for each of them.
 * Packet pointers also share what is checked of them with everything a constant away.
 * @param readable a packet pointer of which two bytes are checked
 */
export function conceal(lowering: Lowering, value: Value, readable: Value, maximum: number, other: Block): Value {
  const { builder } = lowering;
  const noise = (): Value => builder.zeroExtend(builder.loadFresh(2, readable, 0));
  const concealed = builder.binary("sub", builder.binary("add", value, noise()), noise());
  const bounded = builder.block();
  builder.branch("ule", concealed, builder.const(maximum, 64), bounded, other);
  lowering.enter(bounded);
  return concealed;
}
