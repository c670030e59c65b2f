/**
 * SHA-1 and SHA-256 (FIPS 180-4) as code of a program: one round in a loop, since a chain with all rounds written out takes
 * seconds to compile and to verify. The verifier knows the loops' counters, so that it follows 80 short turns and no more.
 */
import { int32, type Value } from "../ir/ir.ts";
import type { Variable } from "../ir/builder.ts";
import type { Lowering } from "./lowering.ts";

/** Where things are in the stack memory that hashes work in, and how much that is, in bytes. */
const at = { schedule: 0, constants: 64 } as const;
export const hashMemory = 128;

/** The roots' fractions that FIPS 180-4 takes its constants from: the first 32 bits behind the point. */
function fraction(root: number): bigint {
  return BigInt(Math.floor((root - Math.floor(root)) * 2 ** 32));
}

const primes = [...Array(312).keys()].filter(
  (n) => n > 1 && !Array.from({ length: n }).some((_, d) => d > 1 && n % d === 0),
);
const sha256 = {
  start: primes.slice(0, 8).map((prime) => fraction(Math.sqrt(prime))),
  rounds: primes.slice(0, 64).map((prime) => fraction(Math.cbrt(prime))),
};
const sha1 = {
  start: [0x67452301n, 0xefcdab89n, 0x98badcfen, 0x10325476n, 0xc3d2e1f0n],
  rounds: [0x5a827999n, 0x6ed9eba1n, 0x8f1bbcdcn, 0xca62c1d6n],
};

/** Of a SHA-256 hash. */
export const sha256Words = 8;

/** The words of a hash in the making. */
export type State = readonly Variable[];

/** Calculation with 32-bit words, and the memory of one hash. */
export class Hashing {
  readonly #lowering: Lowering;
  readonly memory: Value;

  constructor(lowering: Lowering) {
    this.#lowering = lowering;
    this.memory = lowering.scratch.hash;
  }

  get #builder() {
    return this.#lowering.builder;
  }

  /** The two words of a 64-bit number. */
  halves(value: Value): [upper: Value, lower: Value] {
    const builder = this.#builder;
    return [builder.truncate(builder.binary("lshr", value, builder.const(32, 64))), builder.truncate(value)];
  }

  xor = (...values: readonly Value[]): Value => values.reduce((a, b) => this.#builder.binary("xor", a, b));
  add = (...values: readonly Value[]): Value => values.reduce((a, b) => this.#builder.binary("add", a, b));
  #and = (a: Value, b: Value): Value => this.#builder.binary("and", a, b);
  #or = (a: Value, b: Value): Value => this.#builder.binary("or", a, b);
  word = (value: bigint | number): Value => this.#builder.const(value);

  #shift(fn: "shl" | "lshr", value: Value, by: number): Value {
    return this.#builder.binary(fn, value, this.word(by));
  }

  #rotate(value: Value, by: number): Value {
    return this.#or(this.#shift("lshr", value, by), this.#shift("shl", value, 32 - by));
  }

  /** Bits of `a` where `which` is set, of `b` elsewhere. */
  #choose(which: Value, a: Value, b: Value): Value {
    return this.xor(b, this.#and(which, this.xor(a, b)));
  }

  /** Bits that most of the three have. */
  #majority(a: Value, b: Value, c: Value): Value {
    return this.#or(this.#and(a, b), this.#and(c, this.#or(a, b)));
  }

  /** Writes words of the next block to be hashed, from the first one on. */
  write(words: readonly (Value | number)[]): void {
    words.forEach((word, i) =>
      this.#builder.store(4, this.memory, at.schedule + 4 * i, typeof word === "number" ? this.word(word) : word),
    );
  }

  /** The values that a hash starts with. */
  start256(): State {
    return sha256.start.map((value, i) => this.#variable(`sha256_${i}`, this.word(value)));
  }

  restart256(state: State): void {
    state.forEach((variable, i) => this.#builder.write(variable, this.word(sha256.start[i])));
  }

  /** The first word of the hash of one block, after its rounds. */
  first256([first]: State): Value {
    return this.add(this.#builder.read(first), this.word(sha256.start[0]));
  }

  #variable(name: string, value: Value): Variable {
    const variable: Variable = { name, type: value.type };
    this.#builder.write(variable, value);
    return variable;
  }

  /** `turn` for each of `count` turns, `step` apart. */
  loop(name: string, count: number, step: number, turn: (counter: Value) => void): void {
    const lowering = this.#lowering;
    const builder = this.#builder;
    const counter = this.#variable(name, builder.const(0, 64));
    const [head, body, exit] = builder.blocks(3);
    builder.jump(head);
    builder.enter(head);
    builder.branch("ult", builder.read(counter), builder.const(count * step, 64), body, exit);
    lowering.enter(body);
    turn(builder.read(counter));
    builder.write(counter, builder.binary("add", builder.read(counter), builder.const(step, 64)));
    builder.jump(head);
    builder.seal(head);
    lowering.enter(exit);
  }

  /** A word of the schedule, `ahead` words from the one at `offset`; its 16 words go round. */
  #scheduled(offset: Value, ahead: number): Value {
    const builder = this.#builder;
    const there =
      ahead === 0
        ? offset
        : builder.binary("and", builder.binary("add", offset, builder.const(4 * ahead, 64)), builder.const(60, 64));
    return builder.loadFresh(4, builder.pointerAdd(this.memory, there), at.schedule);
  }

  #schedule(offset: Value, word: Value): void {
    this.#builder.store(4, this.#builder.pointerAdd(this.memory, offset), at.schedule, word);
  }

  /** The 64 rounds of SHA-256 over the block in memory, which it uses up; the state before is not added yet. */
  rounds256(state: State): void {
    const builder = this.#builder;
    const lowering = this.#lowering;
    this.loop("sixteen_rounds", 4, 1, (which) => {
      const filled = builder.block();
      for (let part = 0; part < 4; part++) {
        const [fill, next] = builder.blocks(2);
        if (part < 3) builder.branch("eq", which, builder.const(part, 64), fill, next);
        else builder.jump(fill);
        lowering.enter(fill);
        sha256.rounds
          .slice(16 * part, 16 * part + 16)
          .forEach((constant, i) => builder.store(4, this.memory, at.constants + 4 * i, this.word(constant)));
        builder.jump(filled);
        if (part < 3) lowering.enter(next);
      }
      lowering.enter(filled);
      this.loop("round", 16, 4, (offset) => {
        const [a, b, c, d, e, f, g, h] = state.map((variable) => builder.read(variable));
        const w = this.#scheduled(offset, 0);
        const constant = builder.loadFresh(4, builder.pointerAdd(this.memory, offset), at.constants);
        const big1 = this.xor(this.#rotate(e, 6), this.#rotate(e, 11), this.#rotate(e, 25));
        const first = this.add(h, big1, this.#choose(e, f, g), constant, w);
        const big0 = this.xor(this.#rotate(a, 2), this.#rotate(a, 13), this.#rotate(a, 22));
        const second = this.add(big0, this.#majority(a, b, c));
        [this.add(first, second), a, b, c, this.add(d, first), e, f, g].forEach((value, i) =>
          builder.write(state[i], value),
        );
        const [x, y] = [this.#scheduled(offset, 1), this.#scheduled(offset, 14)];
        const small0 = this.xor(this.#rotate(x, 7), this.#rotate(x, 18), this.#shift("lshr", x, 3));
        const small1 = this.xor(this.#rotate(y, 17), this.#rotate(y, 19), this.#shift("lshr", y, 10));
        this.#schedule(offset, this.add(w, small0, this.#scheduled(offset, 9), small1));
      });
    });
  }

  /** SHA-1 over the block in memory: the first word of the hash. */
  sha1(): Value {
    const builder = this.#builder;
    const lowering = this.#lowering;
    const state = sha1.start.map((value, i) => this.#variable(`sha1_${i}`, this.word(value)));
    this.loop("round", 80, 1, (t) => {
      const [a, b, c, d, e] = state.map((variable) => builder.read(variable));
      const mixed: Variable = { name: "mixed", type: int32 };
      const joined = builder.block();
      const mixes = [() => this.#choose(b, c, d), () => this.xor(b, c, d), () => this.#majority(b, c, d)];
      for (let phase = 0; phase < 4; phase++) {
        const [here, next] = builder.blocks(2);
        if (phase < 3) builder.branch("ult", t, builder.const(20 * (phase + 1), 64), here, next);
        else builder.jump(here);
        lowering.enter(here);
        builder.write(mixed, this.add(mixes[phase === 3 ? 1 : phase](), this.word(sha1.rounds[phase])));
        builder.jump(joined);
        if (phase < 3) lowering.enter(next);
      }
      lowering.enter(joined);
      const offset = builder.binary("and", builder.binary("shl", t, builder.const(2, 64)), builder.const(60, 64));
      const w = this.#scheduled(offset, 0);
      const next = this.add(this.#rotate(a, 27), builder.read(mixed), e, w);
      [next, a, this.#rotate(b, 2), c, d].forEach((value, i) => builder.write(state[i], value));
      const later = this.xor(this.#scheduled(offset, 13), this.#scheduled(offset, 8), this.#scheduled(offset, 2), w);
      this.#schedule(offset, this.#rotate(later, 31));
    });
    return this.add(builder.read(state[0]), this.word(sha1.start[0]));
  }
}
