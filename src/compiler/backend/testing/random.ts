/** A small seeded generator (xorshift32), so that a failing case can be made again from its number. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = (Math.imul(seed + 1, 0x9e3779b1) ^ 0x5bd1e995) | 1;
    for (let i = 0; i < 4; i++) this.below(2);
  }

  /** An integer in 0..n. */
  below(n: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return (x >>> 0) % n;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)];
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
}
