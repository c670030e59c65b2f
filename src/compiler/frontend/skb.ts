/** Fields of `struct __sk_buff` (include/uapi/linux/bpf.h) that programs on tc use, and a mark of our own. */
import type { Value } from "../ir/ir.ts";
import type { Lowering } from "./lowering.ts";

/** Bytes from the start of the context. */
export const skbField = { length: 0, mark: 8, ifindex: 40, gsoSize: 176 } as const;

/**
 * The mark of segments a chain made itself: it lets them pass untouched when it meets them again, and takes the mark off.
 * Otherwise a policy that duplicates every segment would do so for ever.
 */
export const ownMark = 0x656d_7063;

/** A 16-bit number between host and network order. */
export function swapped({ builder }: Lowering, value: Value): Value {
  return builder.swap(16, value);
}

/** The checksum that a sum of at most 33 bits stands for: its complement, folded to 16 bits (RFC 1071). */
export function folded({ builder }: Lowering, sum: Value): Value {
  const mask = builder.const(0xffff, 64);
  let rest = sum;
  for (let i = 0; i < 3; i++)
    rest = builder.binary(
      "add",
      builder.binary("and", rest, mask),
      builder.binary("lshr", rest, builder.const(16, 64)),
    );
  return builder.truncate(builder.binary("xor", rest, mask));
}
