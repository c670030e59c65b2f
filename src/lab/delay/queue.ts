/** Packets that wait for their time, in order: a ring of packet ids and due times. */

/** What happens to one direction's packets. */
export type Impairment = {
  readonly delayMs: number;
  readonly jitterMs: number;
  /** 0 to 1. */
  readonly lossProbability: number;
};

/** The kernel holds at most this many packets per queue; it lets the ones beyond pass. */
export const maxWaiting = 65_535;

export class DueQueue {
  impairment: Impairment;
  readonly #ids = new Uint32Array(maxWaiting + 1);
  readonly #due = new Float64Array(maxWaiting + 1);
  #head = 0;
  #tail = 0;
  #lastDue = 0;
  readonly #random: () => number;

  constructor(impairment: Impairment, random: () => number = Math.random) {
    this.impairment = impairment;
    this.#random = random;
  }

  /** Takes a packet in. @returns false when it is lost instead. */
  push(id: number, nowMs: number): boolean {
    const { delayMs, jitterMs, lossProbability } = this.impairment;
    if (lossProbability > 0 && this.#random() < lossProbability) return false;
    const delay = jitterMs > 0 ? delayMs + (2 * this.#random() - 1) * jitterMs : delayMs;
    // Never before the packet ahead of it, also when the delay was just lowered.
    this.#lastDue = Math.max(this.#lastDue, nowMs + delay);
    this.#ids[this.#tail & maxWaiting] = id;
    this.#due[this.#tail & maxWaiting] = this.#lastDue;
    this.#tail = (this.#tail + 1) >>> 0;
    return true;
  }

  /** When the next packet is due; Infinity when none waits. */
  get nextDueMs(): number {
    return this.#head === this.#tail ? Infinity : this.#due[this.#head & maxWaiting];
  }

  /** Removes all packets that are due. @returns the id of the last one, or undefined when there is none. */
  takeDue(nowMs: number): number | undefined {
    let last: number | undefined;
    while (this.#head !== this.#tail && this.#due[this.#head & maxWaiting] <= nowMs) {
      last = this.#ids[this.#head & maxWaiting]!;
      this.#head = (this.#head + 1) >>> 0;
    }
    return last;
  }
}
