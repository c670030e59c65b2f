/**
 * How the parameters map is laid out. A chain with one parameter has one word there, which is written at once. Words of
 * several could be read half old, half new: there are as many copies of all of them as fit into `copies`, and behind them the
 * number of the copy that is in force, which a program reads once per packet. Whoever changes words writes the next copy,
 * then its number.
 */
import type { ParameterType } from "../policy/types.ts";

/** Bytes of a parameter: a word, but for texts, which are as many as hold their characters, zeros behind them. */
export function parameterSize({ representation }: Pick<ParameterType, "representation">): number {
  return representation.kind === "text" ? 8 * Math.ceil(representation.maximum / 8) : 8;
}

/** Words of all parameters. */
export function parameterWords(slots: readonly { readonly type: ParameterType }[]): number {
  return slots.reduce((sum, { type }) => sum + parameterSize(type) / 8, 0);
}

/** Parameters with their places, one behind the other. */
export function placeParameters<T extends { readonly type: ParameterType }>(
  slots: readonly T[],
): (T & { offset: number })[] {
  let size = 0;
  return slots.map((slot) => {
    const offset = size;
    size += parameterSize(slot.type);
    return { ...slot, offset };
  });
}

/** Of a parameter, as one little-endian number. */
export function readParameter(view: DataView, offset: number, size: number): bigint {
  let value = 0n;
  for (let at = size - 8; at >= 0; at -= 8) value = (value << 64n) | view.getBigUint64(offset + at, true);
  return value;
}

export function writeParameter(view: DataView, offset: number, size: number, value: bigint): void {
  for (let at = 0; at < size; at += 8)
    view.setBigUint64(offset + at, BigInt.asUintN(64, value >> BigInt(8 * at)), true);
}

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
