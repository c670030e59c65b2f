/** What a path carries, from what its subflows delivered lately. Pure. */

/** How many observations count. */
const memory = 100;

/** The most that was delivered lately, but for one observation, which may be a burst. */
export class Capacity {
  readonly #observed: number[] = [];

  observe(bytesPerSecond: number): void {
    this.#observed.push(bytesPerSecond);
    if (this.#observed.length > memory) this.#observed.shift();
  }

  /** 0 before anything was observed. */
  get bytesPerSecond(): number {
    const [most = 0, next = most] = this.#observed.toSorted((a, b) => b - a);
    return next;
  }
}
