/** Finding a sub-policy of a chain by its name, or by its place where a name stands twice. */
import { ParameterError } from "./inputs.ts";

/** A name, or a number from 1. */
export type Place = string | number;

/**
 * The index of a sub-policy.
 * @param what `actor` or `selector`, for messages; `where` completes it, e.g. ` of chain phones`
 * @throws ParameterError that says which there are
 */
export function findPlace(names: readonly string[], place: Place, what: string, where = ""): number {
  const number = typeof place === "number" ? place : /^\d+$/.test(place) ? Number(place) : undefined;
  if (number !== undefined) {
    if (Number.isInteger(number) && number >= 1 && number <= names.length) return number - 1;
    const has = names.length === 0 ? `there is no ${what}` : `there are ${listNames(names)}`;
    throw new ParameterError(`Cannot find ${what} ${number}${where}: ${has}`);
  }
  const found = names.flatMap((name, i) => (name === place ? [i] : []));
  if (found.length === 1) return found[0];
  const problem = found.length === 0 ? "there is none" : "there are several; say which by its number";
  throw new ParameterError(
    `Cannot find ${what} ${place}${where}: ${problem}${names.length > 0 ? ` (${listNames(names)})` : ""}`,
  );
}

/** The index at which something new is put: that of a sub-policy it is to stand before, or behind the last one. */
export function findGap(names: readonly string[], place: Place, what: string): number {
  return Number(place) === names.length + 1 ? names.length : findPlace(names, place, what);
}

function listNames(names: readonly string[]): string {
  return names.map((name, i) => `${i + 1} ${name}`).join(", ");
}
