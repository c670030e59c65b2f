/** The sets of a composed chain: found, checked against the actors that use their members' parameters, handed to the compiler. */
import type { MemberUse, PolicyUse } from "../compiler/index.ts";
import { completeInputs, ParameterError, readConstant, type InputRecord } from "./inputs.ts";
import type { ActorEntry } from "./compose.ts";
import { enabledPart, selectorEntries, type Expression } from "./expression.ts";
import type { MemberParameter, MemberSet } from "./member-set.ts";
import { encodeMembers } from "./members.ts";
import { policyFile } from "./sources.ts";
import type { Selector } from "../policy/index.ts";

/** The names of the sets that have matched whenever the expression has. */
function certain(expression: Expression): ReadonlySet<string> {
  switch (expression.op) {
    case "policy":
      return new Set(expression.set ? [expression.set.name] : []);
    case "and":
      return new Set(expression.terms.flatMap((term) => [...certain(term)]));
    case "or": {
      const [first = new Set<string>(), ...others] = expression.terms.map(certain);
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
  const sets = new Map<string, MemberSet>();
  for (const { set } of selectorEntries(expression)) {
    if (!set) continue;
    if ((sets.get(set.name) ?? set) !== set)
      throw new ParameterError(
        `Cannot make a policy chain: two of its sets are called ${set.name}; name one differently`,
      );
    sets.set(set.name, set);
  }
  const matched = certain(enabledPart(expression));
  for (const { policy, fromMember, disabled } of actors) {
    for (const [name, parameter] of Object.entries(fromMember)) {
      const problem = problemWith(parameter, sets, matched, disabled ?? false);
      if (problem === undefined) continue;
      const { set, field } = parameter;
      throw new ParameterError(
        `Cannot set ${policy.name}.${name} to ${set.name}.${field}: the set ${set.name} ${problem}; narrow the selectors by it with select(…)`,
      );
    }
  }
}

function problemWith(
  { set, field, type }: MemberParameter,
  sets: ReadonlyMap<string, MemberSet>,
  matched: ReadonlySet<string>,
  disabled: boolean,
): string | undefined {
  const own = sets.get(set.name);
  if (!own) return "is not among the chain's selectors";
  const same = own.slot.params.find((param) => param.name === field)?.type;
  if (JSON.stringify(same?.representation) !== JSON.stringify(type.representation))
    return "among the chain's selectors is another one of that name";
  if (disabled || matched.has(set.name)) return undefined;
  return "may not have matched when the actors run: it is disabled, or stands behind OR or NOT";
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
