/** HMAC-SHA256 (RFC 2104) with the two keys of an MPTCP connection, over a message of up to 24 bytes. */
import { int32, type Value } from "../ir/ir.ts";
import type { Variable } from "../ir/builder.ts";
import { Hashing, sha256Words } from "./hashes.ts";
import type { Lowering } from "./lowering.ts";

const innerPad = 0x3636_3636;
const outerPad = 0x5c5c_5c5c;
const blockBits = 512;
/** Of a hash, in bytes. */
const digestSize = 4 * sha256Words;

/**
 * The last 64 bits of the HMAC.
 * @param keys the sender's and the receiver's, as `option.u64` reads them
 * @param message 24 bytes as three 64-bit numbers, zero behind its end
 * @param length of the message in bytes, 32 bits wide
 */
export function lowerHmac(
  lowering: Lowering,
  keys: readonly [Value, Value],
  message: readonly [Value, Value, Value],
  length: Value,
): Value {
  const { builder } = lowering;
  const hashing = new Hashing(lowering);
  const innerHash = builder.stack(digestSize);
  // The state that a block starts with: stack is scarce, and no key of a map is made meanwhile.
  const chain = lowering.scratch.flowKey;
  const state = hashing.start256();
  const pad: Variable = { name: "pad", type: int32 };
  builder.write(pad, builder.const(innerPad));
  const padded = withEnd(lowering, message, length);
  // Blocks 0 and 2 are the keys, with either pad; 1 is the message, 3 the inner hash.
  hashing.loop("block", 4, 1, (which) => {
    const [text, keyBlock, outer, inner, ready] = builder.blocks(5);
    builder.branch("test", which, builder.const(1, 64), text, keyBlock);

    lowering.enter(keyBlock);
    const words = keys.flatMap((key) => hashing.halves(key)).map((word) => hashing.xor(word, builder.read(pad)));
    hashing.write([...words, ...Array<Value>(12).fill(builder.read(pad))]);
    hashing.restart256(state);
    builder.jump(ready);

    lowering.enter(text);
    builder.branch("eq", which, builder.const(3, 64), outer, inner);
    lowering.enter(inner);
    const bits = builder.binary("shl", length, builder.const(3));
    const total = hashing.add(bits, hashing.word(blockBits));
    hashing.write([...padded.flatMap((word) => hashing.halves(word)), ...Array<number>(9).fill(0), total]);
    builder.write(pad, builder.const(outerPad));
    builder.jump(ready);
    lowering.enter(outer);
    const digest = state.map((_, i) => builder.loadFresh(4, innerHash, 4 * i));
    hashing.write([...digest, 0x8000_0000, ...Array<number>(6).fill(0), blockBits + 32 * sha256Words]);
    builder.jump(ready);

    lowering.enter(ready);
    state.forEach((word, i) => builder.store(4, chain, 4 * i, builder.read(word)));
    hashing.rounds256(state);
    state.forEach((word, i) => {
      const before = builder.loadFresh(4, chain, 4 * i);
      builder.write(word, hashing.add(before, builder.read(word)));
    });
    const [keep, next] = builder.blocks(2);
    builder.branch("eq", which, builder.const(1, 64), keep, next);
    lowering.enter(keep);
    state.forEach((word, i) => builder.store(4, innerHash, 4 * i, builder.read(word)));
    builder.jump(next);
    lowering.enter(next);
  });
  const [upper, lower] = [builder.read(state[6]), builder.read(state[7])].map((word) => builder.zeroExtend(word));
  return builder.binary("or", builder.binary("shl", upper, builder.const(32, 64)), lower);
}

/** The message with the bit that ends it, 0x80 behind its last byte. */
function withEnd(lowering: Lowering, message: readonly Value[], length: Value): Value[] {
  const { builder } = lowering;
  const word = builder.binary("lshr", length, builder.const(3));
  const bits = builder.binary("shl", builder.binary("and", length, builder.const(7)), builder.const(3));
  const place = builder.zeroExtend(builder.binary("sub", builder.const(63), bits));
  return message.map((value, i) => {
    const isHere = builder.zeroExtend(builder.compare("eq", word, builder.const(i)));
    return builder.binary("or", value, builder.binary("shl", isHere, place));
  });
}
