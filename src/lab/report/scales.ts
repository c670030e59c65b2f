/** From values to places on an axis, and the round values to mark there. */

export interface Scale {
  /** Where a value lies, in pixels. */
  readonly place: (value: number) => number;
  /** Round values within the axis, ascending. */
  readonly ticks: readonly number[];
  readonly low: number;
  readonly high: number;
}

/**
 * An axis from `from` to `to` pixels that holds all of `values` and ends at round ones; it starts at 0 unless a value is below.
 * @throws RangeError for values that are not finite
 */
export function linearScale(values: readonly number[], from: number, to: number, wantedTicks = 5): Scale {
  const { low, high } = extent(values, 0);
  const step = roundStep((high - low || 1) / wantedTicks);
  // Whole multiples of the step, told without the dust that repeated addition leaves.
  const [first, last] = [Math.floor(low / step + 1e-9), Math.max(Math.ceil(high / step - 1e-9), 1)];
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
  const [start, end] = [ticks[0], ticks.at(-1)!];
  return { place: (value) => from + ((value - start) / (end - start)) * (to - from), ticks, low: start, high: end };
}

/**
 * The same by powers of ten, for values that differ by orders of magnitude.
 * @throws RangeError for values that are not above 0
 */
export function logScale(values: readonly number[], from: number, to: number): Scale {
  const bad = values.find((value) => !(value > 0));
  if (bad !== undefined) throw new RangeError(`Cannot place ${bad} on an axis of powers of ten: it is not above 0`);
  const { low, high } = extent(values);
  const first = Math.floor(Math.log10(low) + 1e-9);
  const last = Math.max(Math.ceil(Math.log10(high) - 1e-9), first + 1);
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i));
  const place = (value: number) => from + ((Math.log10(value) - first) / (last - first)) * (to - from);
  return { place, ticks, low: ticks[0], high: ticks.at(-1)! };
}

function extent(values: readonly number[], ...more: readonly number[]): { low: number; high: number } {
  const bad = values.find((value) => !Number.isFinite(value));
  if (bad !== undefined) throw new RangeError(`Cannot place ${bad} on an axis`);
  let [low, high] = [Infinity, -Infinity];
  for (const value of [...values, ...more]) [low, high] = [Math.min(low, value), Math.max(high, value)];
  return low > high ? { low: 1, high: 10 } : { low, high };
}

/** The next of 1, 2, 2.5, 5 times a power of ten. */
function roundStep(atLeast: number): number {
  const power = 10 ** Math.floor(Math.log10(atLeast));
  return [1, 2, 2.5, 5, 10].find((factor) => factor * power >= atLeast * (1 - 1e-9))! * power;
}

/** A value for people: four digits at most, thousands apart. */
export function formatValue(value: number): string {
  const rounded = Number(value.toPrecision(4));
  if (rounded !== 0 && (Math.abs(rounded) < 1e-3 || Math.abs(rounded) >= 1e9)) return rounded.toExponential();
  const [whole, fraction] = String(rounded).split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, " ");
  return fraction === undefined ? grouped : `${grouped}.${fraction}`;
}
