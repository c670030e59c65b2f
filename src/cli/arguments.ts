/** Options and arguments that are read the same way by several commands. */
import { InvalidArgumentError } from "commander";

/** For commander: a whole number within bounds, or an error that names them. */
export const readInteger =
  (least: number, most = Infinity) =>
  (value: string): number => {
    const number = Number(value);
    if (/^\d+$/.test(value) && number >= least && number <= most) return number;
    throw new InvalidArgumentError(`Give a number from ${least} ${most === Infinity ? "on" : `to ${most}`}.`);
  };

const longestSeconds = 3600;

/** For commander: how long something is measured, in seconds. */
export function readSeconds(text: string): number {
  const seconds = Number(text);
  if (seconds > 0 && seconds <= longestSeconds) return seconds;
  throw new InvalidArgumentError(`Give a number of seconds, at most ${longestSeconds}.`);
}
