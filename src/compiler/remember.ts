/** What was compiled before: a chain that is turned on and off, or anything submitted again, costs no compilation. */
import type { PolicyProgram } from "./frontend/program.ts";

const maximumKept = 32;

/** By the program that they come from, which is another one as soon as a file has changed; the oldest first. */
const kept = new WeakMap<PolicyProgram, Map<string, unknown>>();
const numbers = new WeakMap<object, number>();
let lastNumber = 0;

/** What `compile` gives, or gave for equal `inputs`: plain data, but for policies, of which each is itself. */
export function remembered<T>(program: PolicyProgram, inputs: unknown, compile: () => T): T {
  const chains = kept.get(program) ?? new Map<string, unknown>();
  kept.set(program, chains);
  const key = JSON.stringify(inputs, describe);
  const known = chains.get(key) ?? compile();
  chains.delete(key);
  chains.set(key, known);
  if (chains.size > maximumKept) chains.delete(chains.keys().next().value!);
  return known as T;
}

function describe(name: string, value: unknown): unknown {
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value !== "object" || value === null) return value;
  return name === "policy" ? numberOf(value) : value;
}

function numberOf(object: object): number {
  const number = numbers.get(object) ?? ++lastNumber;
  numbers.set(object, number);
  return number;
}
