/** Composing a chain: which packets (selectors), what happens to them (actors). Nothing here touches the kernel. */
import type { Actor, InputsOf, ParameterType, Selector } from "../policy/index.ts";
import type { ConstantValue } from "../compiler/index.ts";
import { builtInActor, builtInSelector } from "../policies/registry.ts";
import { insertTerm, mapSelectors, selectorEntries, type Expression, type SelectorEntry } from "./expression.ts";
import {
  completeInputs,
  readConstant,
  readWord,
  checkNames,
  ParameterError,
  type InputRecord,
  type Input,
} from "./inputs.ts";
import { MemberParameter, MemberSet, type InputsOrMembers } from "./member-set.ts";
import { findGap, findPlace, type Place } from "./places.ts";
import { asGiven } from "./rate-limit.ts";

/**
 * Picks packets: a boolean expression over selectors. A new one matches every TCP packet; each `select` narrows it.
 * Selectors are numbered from 1, from left to right; those whose name stands once may also be called by it.
 *
 * ```ts
 * new SelectorChain().select("dst", { prefix: "10.0.0.0/8" }).exclude("packet_type", { type: "rst" });
 * ```
 */
export class SelectorChain {
  #expression: Expression;

  constructor(expression: Expression = { op: "any" }) {
    this.#expression = expression;
  }

  get expression(): Expression {
    return this.#expression;
  }

  /** The selectors, from left to right. */
  get entries(): readonly SelectorEntry[] {
    return selectorEntries(this.#expression);
  }

  /** AND: what matched so far and this too. `policy` is a built-in selector's name, a selector, a set, or another chain. */
  select<S extends Selector>(policy: string | S | SelectorChain | MemberSet, inputs?: InputsOf<S>): this {
    return this.#combine("and", toExpression(policy, inputs));
  }

  /** OR: what matched so far, or this. */
  or<S extends Selector>(policy: string | S | SelectorChain | MemberSet, inputs?: InputsOf<S>): this {
    return this.#combine("or", toExpression(policy, inputs));
  }

  /** AND NOT: what matched so far, but not this. */
  exclude<S extends Selector>(policy: string | S | SelectorChain | MemberSet, inputs?: InputsOf<S>): this {
    return this.#combine("and", { op: "not", term: toExpression(policy, inputs) });
  }

  /**
   * Puts another term before a selector, joined to it by the AND or OR that it stands in; at the number behind the last one
   * it is put at the end.
   * @throws ParameterError
   */
  insert<S extends Selector>(at: Place, policy: string | S | SelectorChain | MemberSet, inputs?: InputsOf<S>): this {
    const index = findGap(this.#names(), at, "selector");
    this.#expression = insertTerm(this.#expression, index, toExpression(policy, inputs));
    return this;
  }

  /** Takes a selector out of the expression, with a `not` that stands before it. @throws ParameterError */
  remove(place: Place): this {
    return this.#change(place, () => undefined);
  }

  /** Puts a selector, or a whole expression, in the place of one. @throws ParameterError */
  replace<S extends Selector>(
    place: Place,
    policy: string | S | SelectorChain | MemberSet,
    inputs?: InputsOf<S>,
  ): this {
    const term = toExpression(policy, inputs);
    return this.#change(place, () => term);
  }

  /** Gives a selector other parameters; those not named stay. @throws ParameterError */
  set(place: Place, inputs: InputRecord): this {
    return this.#change(place, (entry) => {
      if (entry.set)
        throw new ParameterError(`Cannot set parameters of ${entry.policy.name}: it is the set ${entry.set.name}`);
      const all = { ...entry.inputs, ...inputs };
      checkSelector(entry.policy, all);
      return { ...entry, inputs: all };
    });
  }

  /** Lets a selector decide again. @throws ParameterError */
  enable(place: Place): this {
    return this.#change(place, ({ disabled: _disabled, ...entry }) => entry);
  }

  /** Leaves a selector out until it is enabled: the expression is what it would be without it. @throws ParameterError */
  disable(place: Place): this {
    return this.#change(place, (entry) => ({ ...entry, disabled: true }));
  }

  #names(): string[] {
    return this.entries.map(({ policy }) => policy.name);
  }

  #change(place: Place, change: (entry: SelectorEntry) => Expression | undefined): this {
    const index = findPlace(this.#names(), place, "selector");
    this.#expression = mapSelectors(this.#expression, (entry, i) => (i === index ? change(entry) : entry));
    return this;
  }

  #combine(op: "and" | "or", term: Expression): this {
    const before = this.#expression;
    // A fresh chain matches everything; the first term takes its place.
    if (before.op === "any") this.#expression = term;
    else if (before.op === op) this.#expression = { op, terms: [...before.terms, term] };
    else this.#expression = { op, terms: [before, term] };
    return this;
  }
}

function toExpression(policy: string | Selector | SelectorChain | MemberSet, inputs: InputRecord = {}): Expression {
  if (policy instanceof SelectorChain) return policy.expression;
  if (policy instanceof MemberSet) {
    if (Object.keys(inputs).length > 0)
      throw new ParameterError(`Cannot give parameters to the set ${policy.name} here: its members have them`);
    return { op: "policy", policy: policy.selector, inputs: policy.constantInputs, set: policy };
  }
  const selector = typeof policy === "string" ? builtInSelector(policy) : policy;
  if (selector?.kind !== "selector") throw new TypeError(`Cannot select by ${describe(selector)}: it is no selector`);
  checkSelector(selector, inputs);
  return { op: "policy", policy: selector, inputs };
}

function checkSelector(selector: Selector, inputs: InputRecord): void {
  const values = completeInputs(selector, inputs).map(([name, type, input]) => [
    name,
    readConstant(type, input, `${selector.name}.${name}`),
  ]);
  const problem = selector.check?.(Object.fromEntries(values) as Record<string, ConstantValue>);
  if (problem !== undefined) throw new ParameterError(`Cannot select by ${selector.name}: ${problem}`);
}

/** Which interfaces there are is known where the chain is submitted: in another network namespace, maybe. */
const anyInterface = (): number => 1;

function describe(value: unknown): string {
  const name = (value as { name?: unknown } | undefined)?.name;
  return typeof name === "string" ? name : String(value);
}

/** An actor as a person added it. */
export interface ActorEntry {
  readonly policy: Actor;
  readonly inputs: InputRecord;
  /** Parameters that are those of the member matched. */
  readonly fromMember: Readonly<Record<string, MemberParameter>>;
  /** How `rate_limit` is to be done; undefined leaves it to the chain. */
  readonly per?: "connection" | "subflow";
  /** Left out for now; it keeps its parameters, counters and state. */
  readonly disabled?: true;
  /** Which one it is in the running chain that this entry comes from, from 0. */
  readonly origin?: number;
  /** The name of what does it there. */
  readonly done?: string;
}

type ActorInputs<A extends Actor> = InputsOrMembers<A["params"]> & {
  readonly per?: "connection" | "subflow";
  /** What `rate_limit` takes instead of a rate: the most bytes under way. */
  readonly window?: number | MemberParameter;
};

/**
 * What happens to the packets, in order. Actors are numbered from 1; those whose name stands once may also be called by it.
 *
 * ```ts
 * new ActorChain().add("rate_limit", { rate: "10mbit" }).add("record");
 * ```
 */
export class ActorChain {
  #entries: readonly ActorEntry[];

  constructor(entries: readonly ActorEntry[] = []) {
    this.#entries = entries;
  }

  get entries(): readonly ActorEntry[] {
    return this.#entries;
  }

  /** Appends an actor, by a built-in one's name or as a value. `rate_limit` takes a rate or a `window`, and `per`: `connection` or `subflow`. */
  add<A extends Actor>(policy: string | A, inputs?: ActorInputs<A>): this {
    this.#entries = [...this.#entries, toEntry(policy, inputs)];
    return this;
  }

  /** Puts an actor before another one, or at the number behind the last one. @throws ParameterError */
  insert<A extends Actor>(at: Place, policy: string | A, inputs?: ActorInputs<A>): this {
    const index = findGap(this.#names(), at, "actor");
    this.#entries = this.#entries.toSpliced(index, 0, toEntry(policy, inputs));
    return this;
  }

  /** @throws ParameterError */
  remove(place: Place): this {
    this.#entries = this.#entries.toSpliced(this.#index(place), 1);
    return this;
  }

  /** Lets an actor run at another place: the number it then has. @throws ParameterError */
  move(place: Place, to: number): this {
    const from = this.#index(place);
    const target = findPlace(this.#names(), to, "actor");
    const entry = this.#entries[from];
    this.#entries = this.#entries.toSpliced(from, 1).toSpliced(target, 0, entry);
    return this;
  }

  /** Puts another actor in the place of one. @throws ParameterError */
  replace<A extends Actor>(place: Place, policy: string | A, inputs?: ActorInputs<A>): this {
    return this.#change(place, () => toEntry(policy, inputs));
  }

  /** Gives an actor other parameters; those not named stay. @throws ParameterError */
  set(place: Place, inputs: Readonly<Record<string, Input | MemberParameter | undefined>>): this {
    return this.#change(place, ({ policy, disabled, origin, done, per, fromMember, inputs: before }) => {
      const kept = Object.entries(fromMember).filter(([name]) => !(name in inputs));
      const all = { ...(per && { per }), ...before, ...Object.fromEntries(kept), ...inputs };
      return {
        ...toEntry(policy, all),
        ...(disabled && { disabled }),
        ...(origin !== undefined && { origin }),
        ...(done !== undefined && { done }),
      };
    });
  }

  /** Lets an actor act again. @throws ParameterError */
  enable(place: Place): this {
    return this.#change(place, ({ disabled: _disabled, ...entry }) => entry);
  }

  /** Leaves an actor out until it is enabled; it keeps its parameters, counters and state. @throws ParameterError */
  disable(place: Place): this {
    return this.#change(place, (entry) => ({ ...entry, disabled: true }));
  }

  #names(): string[] {
    return this.#entries.map(({ policy }) => policy.name);
  }

  #index(place: Place): number {
    return findPlace(this.#names(), place, "actor");
  }

  #change(place: Place, change: (entry: ActorEntry) => ActorEntry): this {
    const index = this.#index(place);
    this.#entries = this.#entries.with(index, change(this.#entries[index]));
    return this;
  }
}

function toEntry<A extends Actor>(policy: string | A, inputs: ActorInputs<A> | undefined): ActorEntry {
  const actor: Actor = typeof policy === "string" ? builtInActor(policy) : policy;
  if (actor?.kind !== "actor") throw new TypeError(`Cannot add ${describe(actor)}: it is no actor`);
  const all = { ...(inputs as Readonly<Record<string, Input | MemberParameter>>) };
  const taking = asGiven(actor, all);
  const { own, fromMember } = separateMembers(taking, all);
  const { per, ...rest } = own;
  const given: InputRecord = "per" in actor.params ? { ...rest, per } : rest;
  checkNames(taking, given);
  const omitted = new Set(Object.keys(fromMember));
  for (const [name, type, input] of completeInputs(taking, given, omitted))
    readWord(type, input, `${actor.name}.${name}`, anyInterface);
  return { policy: actor, inputs: given, fromMember, ...(isPer(per, actor) && { per }) };
}

/** What a person gave as values, and what as parameters of a set's members. */
function separateMembers(
  actor: Actor,
  inputs: Readonly<Record<string, Input | MemberParameter>>,
): { own: InputRecord; fromMember: Record<string, MemberParameter> } {
  const own: Record<string, Input> = {};
  const fromMember: Record<string, MemberParameter> = {};
  for (const [name, input] of Object.entries(inputs)) {
    if (!(input instanceof MemberParameter)) {
      own[name] = input;
      continue;
    }
    checkNames(actor, { [name]: 0 });
    checkMemberType(`${actor.name}.${name}`, (actor.params as Record<string, ParameterType>)[name], input);
    fromMember[name] = input;
  }
  return { own, fromMember };
}

/** Every value of the member's parameter has to be one that the actor takes. */
function checkMemberType(where: string, wanted: ParameterType, { set, field, type }: MemberParameter): void {
  const isSame = JSON.stringify(wanted.representation) === JSON.stringify(type.representation);
  const fits = isSame && wanted.unit === type.unit;
  if (fits && (type.minimum ?? 0n) >= (wanted.minimum ?? 0n) && (type.maximum ?? 0n) <= (wanted.maximum ?? 0n)) return;
  throw new ParameterError(
    `Cannot set ${where} to ${set.name}.${field}: it takes ${wanted.expects}, and the members have ${type.expects}; ` +
      "give the set the type of the actor's parameter",
  );
}

function isPer(per: unknown, actor: Actor): per is "connection" | "subflow" {
  if (per === undefined || "per" in actor.params) return false;
  if (actor.name === "rate_limit" && (per === "connection" || per === "subflow")) return true;
  throw new ParameterError(
    actor.name === "rate_limit"
      ? `Cannot set rate_limit.per to ${JSON.stringify(per)}: it takes connection or subflow`
      : `Cannot use ${actor.name}: it has no parameter per`,
  );
}
