/** The built-in policies by the names that a chain file or a command line uses. */
import type { Actor, Policy, Selector } from "../policy/index.ts";
import * as builtIn from "./index.ts";

const all: readonly Policy[] = Object.values(builtIn);

function find(kind: Policy["kind"], name: string): Policy {
  const known = all.filter((policy) => policy.kind === kind);
  const found = known.find((policy) => policy.name === name);
  if (found) return found;
  const names = known.map((policy) => policy.name).join(", ");
  throw new RangeError(`Cannot find ${kind} "${name}": the built-in ones are ${names}; your own are passed as values`);
}

/** @throws RangeError naming the built-in selectors */
export function builtInSelector(name: string): Selector {
  return find("selector", name) as Selector;
}

/** @throws RangeError naming the built-in actors */
export function builtInActor(name: string): Actor {
  return find("actor", name) as Actor;
}
