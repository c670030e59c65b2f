/** The sets of a composed chain: found, checked against the actors that use their members' parameters, handed to the compiler. */
import type { MemberUse, PolicyUse } from "../compiler/index.ts";
import { completeInputs, ParameterError, readConstant, type InputRecord } from "./inputs.ts";
import type { ActorEntry } from "./compose.ts";
import type { Expression } from "./expression.ts";
import type { MemberSet } from "./member-set.ts";
import { encodeMembers } from "./members.ts";
import { policyFile } from "./sources.ts";
import type { Selector } from "../policy/index.ts";

type Leaf = Expression & { readonly op: "policy" };

function leaves(expression: Expression): Leaf[] {
  switch (expression.op) {
    case "any":
      return [];
    case "policy":
      return [expression];
    case "not":
      return leaves(expression.term);
    default:
      return expression.terms.flatMap(leaves);
  }
}

/** The sets that have matched whenever the expression has. */
function certain(expression: Expression): ReadonlySet<MemberSet> {
  switch (expression.op) {
    case "policy":
      return new Set(expression.set ? [expression.set] : []);
    case "and":
      return new Set(expression.terms.flatMap((term) => [...certain(term)]));
    case "or": {
      const [first = new Set<MemberSet>(), ...others] = expression.terms.map(certain);
      return new Set([...first].filter((set) => others.every((other) => other.has(set))));
    }
    default:
      return new Set();
  }
}

/**
 * Checks that each set has a name of its own, and that an actor only uses members that have matched when it runs.
 * @throws ParameterError
 */
export function checkSets(expression: Expression, actors: readonly ActorEntry[]): void {
  const byName = new Map<string, MemberSet>();
  for (const { set } of leaves(expression)) {
    if (!set) continue;
    const other = byName.get(set.name);
    if (other && other !== set)
      throw new ParameterError(
        `Cannot make a policy chain: two of its sets are called ${set.name}; name one differently`,
      );
    byName.set(set.name, set);
  }
  const matched = certain(expression);
  for (const { policy, fromMember } of actors) {
    for (const [name, { set, field }] of Object.entries(fromMember)) {
      if (matched.has(set)) continue;
      const why =
        byName.get(set.name) === set
          ? "may not have matched when the actors run: it stands behind OR or NOT"
          : "is not among the chain's selectors";
      throw new ParameterError(
        `Cannot set ${policy.name}.${name} to ${set.name}.${field}: the set ${set.name} ${why}; narrow the selectors by it with select(…)`,
      );
    }
  }
}

/** A selector for the compiler: its parameters as constants, and its set with the members it starts with. */
export function selectorUse({
  policy,
  inputs,
  set,
}: {
  policy: Selector;
  inputs: InputRecord;
  set?: MemberSet;
}): PolicyUse {
  const file = policyFile(policy);
  if (set)
    return {
      policy,
      file,
      constants: set.constants,
      set: set.slot,
      members: encodeMembers(set.slot, set.members, "make"),
    };
  const constants = completeInputs(policy, inputs).map(([name, type, input]) => [
    name,
    readConstant(type, input, `${policy.name}.${name}`),
  ]);
  return { policy, file, constants: Object.fromEntries(constants) as PolicyUse["constants"] & object };
}

/** The parameters of an actor that come from members. */
export function memberUses({ fromMember }: ActorEntry): Record<string, MemberUse> {
  return Object.fromEntries(
    Object.entries(fromMember).map(([name, { set, field }]) => [
      name,
      {
        selector: { policy: set.selector, file: policyFile(set.selector), constants: set.constants, set: set.slot },
        field,
      },
    ]),
  );
}
