/**
 * The token of an MPTCP connection: the first 32 bits of a hash of the key, SHA-256 in version 1 (RFC 8684, section 3.2),
 * SHA-1 in version 0 (RFC 6824, section 3.2). The message is one block of 64 bytes, most of it known, and the rounds
 * (FIPS 180-4, section 6) are unrolled: what depends on constants only is computed while compiling.
 */
import type { BinaryFn, Value } from "../ir/ir.ts";
import { evaluateBinary } from "../ir/evaluate.ts";
import type { Lowering } from "./lowering.ts";

/** A word of the hash: known, or computed by the program. */
type Word = number | Value;

/** The roots' fractions that FIPS 180-4 takes its constants from: the first 32 bits behind the point. */
function fraction(root: number): number {
  return Math.floor((root - Math.floor(root)) * 2 ** 32) >>> 0;
}

const primes = [...Array(312).keys()].filter(
  (n) => n > 1 && !Array.from({ length: n }).some((_, d) => d > 1 && n % d === 0),
);
const sha256 = {
  start: primes.slice(0, 8).map((prime) => fraction(Math.sqrt(prime))),
  rounds: primes.slice(0, 64).map((prime) => fraction(Math.cbrt(prime))),
};
const sha1 = {
  start: [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0],
  rounds: [0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6],
};

class Words {
  readonly #lowering: Lowering;
  constructor(lowering: Lowering) {
    this.#lowering = lowering;
  }

  value(word: Word): Value {
    return typeof word === "number" ? this.#lowering.builder.const(word) : word;
  }

  #apply(fn: BinaryFn, a: Word, b: Word): Word {
    if (typeof a === "number" && typeof b === "number") return Number(evaluateBinary(fn, 32, BigInt(a), BigInt(b)));
    return this.#lowering.builder.binary(fn, this.value(a), this.value(b));
  }

  /** The sum; what is known is added up first. */
  add(...words: readonly Word[]): Word {
    const known = words.reduce<number>((sum, word) => (typeof word === "number" ? (sum + word) >>> 0 : sum), 0);
    const computed = words.filter((word) => typeof word !== "number");
    const sum = computed.reduce<Word | undefined>(
      (all, word) => (all === undefined ? word : this.#apply("add", all, word)),
      undefined,
    );
    if (sum === undefined) return known;
    return known === 0 ? sum : this.#apply("add", sum, known);
  }

  xor(...words: readonly Word[]): Word {
    return words.reduce((all, word) => this.#apply("xor", all, word));
  }

  and(a: Word, b: Word): Word {
    return this.#apply("and", a, b);
  }

  or(a: Word, b: Word): Word {
    return this.#apply("or", a, b);
  }

  shiftRight(word: Word, by: number): Word {
    return this.#apply("lshr", word, by);
  }

  rotateRight(word: Word, by: number): Word {
    return this.#apply("or", this.#apply("lshr", word, by), this.#apply("shl", word, 32 - by));
  }

  /** Bits of `a` where `mask` is set, of `b` elsewhere. */
  choose(mask: Word, a: Word, b: Word): Word {
    return this.xor(b, this.and(mask, this.xor(a, b)));
  }

  /** Bits that most of the three have. */
  majority(a: Word, b: Word, c: Word): Word {
    return this.or(this.and(a, b), this.and(c, this.or(a, b)));
  }
}

/** Bytes of stack that the message schedule takes. */
export const scheduleSize = 64;

/**
 * The last 16 words of the message schedule, each made just before the round that needs it. What is computed lies in stack
 * memory and is loaded anew each time: so many values at once would need more stack, each as a spilled register of 8 bytes.
 */
class Schedule {
  readonly #lowering: Lowering;
  /** Known words; undefined for what is in memory. */
  readonly #words: (number | undefined)[] = [];

  /** Begins with the padded message: the key's 8 bytes, one bit, zeros, and the length in bits. */
  constructor(lowering: Lowering, key: Value) {
    this.#lowering = lowering;
    const { builder } = lowering;
    this.push(builder.truncate(builder.binary("lshr", key, builder.const(32, 64))));
    this.push(builder.truncate(key));
    for (const known of [0x8000_0000, ...Array<number>(12).fill(0), 64]) this.push(known);
  }

  push(word: Word): void {
    const { builder, scratch } = this.#lowering;
    const at = 4 * (this.#words.length % 16);
    if (typeof word !== "number") builder.store(4, scratch.schedule, at, word);
    this.#words.push(typeof word === "number" ? word : undefined);
  }

  at(t: number): Word {
    const { builder, scratch } = this.#lowering;
    return this.#words[t] ?? builder.loadFresh(4, scratch.schedule, 4 * (t % 16));
  }
}

/** @param key the 64-bit key as `option.u64` reads it */
export function lowerToken(lowering: Lowering, key: Value): Value {
  const w = new Words(lowering);
  const schedule = new Schedule(lowering, key);
  let [a, b, c, d, e, f, g, h]: Word[] = sha256.start;
  for (let t = 0; t < 64; t++) {
    if (t >= 16) {
      const [x, y] = [schedule.at(t - 15), schedule.at(t - 2)];
      const small0 = w.xor(w.rotateRight(x, 7), w.rotateRight(x, 18), w.shiftRight(x, 3));
      const small1 = w.xor(w.rotateRight(y, 17), w.rotateRight(y, 19), w.shiftRight(y, 10));
      schedule.push(w.add(schedule.at(t - 16), small0, schedule.at(t - 7), small1));
    }
    const big1 = w.xor(w.rotateRight(e, 6), w.rotateRight(e, 11), w.rotateRight(e, 25));
    const first = w.add(h, big1, w.choose(e, f, g), sha256.rounds[t], schedule.at(t));
    const big0 = w.xor(w.rotateRight(a, 2), w.rotateRight(a, 13), w.rotateRight(a, 22));
    const second = w.add(big0, w.majority(a, b, c));
    [h, g, f, e, d, c, b, a] = [g, f, e, w.add(d, first), c, b, a, w.add(first, second)];
  }
  return w.value(w.add(sha256.start[0], a));
}

/** @param key the 64-bit key as `option.u64` reads it */
export function lowerTokenV0(lowering: Lowering, key: Value): Value {
  const w = new Words(lowering);
  const schedule = new Schedule(lowering, key);
  let [a, b, c, d, e]: Word[] = sha1.start;
  for (let t = 0; t < 80; t++) {
    if (t >= 16) {
      const mixed = w.xor(schedule.at(t - 3), schedule.at(t - 8), schedule.at(t - 14), schedule.at(t - 16));
      schedule.push(w.rotateRight(mixed, 31));
    }
    const mixed = t < 20 ? w.choose(b, c, d) : t >= 40 && t < 60 ? w.majority(b, c, d) : w.xor(b, c, d);
    const next = w.add(w.rotateRight(a, 27), mixed, e, sha1.rounds[Math.floor(t / 20)], schedule.at(t));
    [e, d, c, b, a] = [d, c, w.rotateRight(b, 2), a, next];
  }
  return w.value(w.add(sha1.start[0], a));
}
