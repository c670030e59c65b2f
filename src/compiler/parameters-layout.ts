/**
 * How the parameters map is laid out. A chain with one parameter has one word there, which is written at once. Words of
 * several could be read half old, half new: there are as many copies of all of them as fit into `copies`, and behind them the
 * number of the copy that is in force, which a program reads once per packet. Whoever changes words writes the next copy,
 * then its number.
 */
export interface ParameterCopies {
  readonly copies: number;
  /** Bytes from one copy to the next: a power of two. */
  readonly stride: number;
  /** Where the number of the copy in force is: one byte, so that it is read whole. */
  readonly number: number;
  /** Where it is counted how many copies were written since no program could be reading an older one: one byte. */
  readonly written: number;
}

const copies = 64;

/** Undefined for less than two words. */
export function parameterCopies(words: number): ParameterCopies | undefined {
  if (words < 2) return undefined;
  const stride = 2 ** Math.ceil(Math.log2(8 * words));
  return { copies, stride, number: copies * stride, written: copies * stride + 1 };
}

/** Bytes of the map's only value. */
export function parametersSize(words: number): number {
  const places = parameterCopies(words);
  return places ? places.number + 8 : 8 * words;
}
