/** Composing a chain: which packets (selectors), what happens to them (actors). Nothing here touches the kernel. */
import type { Actor, InputsOf, ParameterType, Selector } from "../policy/index.ts";
import { builtInActor, builtInSelector } from "../policies/registry.ts";
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

/** A selector expression as a person composed it. */
export type Expression =
  | { readonly op: "any" }
  | { readonly op: "policy"; readonly policy: Selector; readonly inputs: InputRecord; readonly set?: MemberSet }
  | { readonly op: "and" | "or"; readonly terms: readonly Expression[] }
  | { readonly op: "not"; readonly term: Expression };

/**
 * Picks packets: a boolean expression over selectors. A new one matches every TCP packet; each `select` narrows it.
 *
 * ```ts
 * new SelectorChain().select("dst", { prefix: "10.0.0.0/8" }).exclude("packet_type", { type: "rst" });
 * ```
 */
export class SelectorChain {
  #expression: Expression = { op: "any" };

  get expression(): Expression {
    return this.#expression;
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
  for (const [name, type, input] of completeInputs(selector, inputs))
    readConstant(type, input, `${selector.name}.${name}`);
  return { op: "policy", policy: selector, inputs };
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
}

/**
 * What happens to the packets, in order.
 *
 * ```ts
 * new ActorChain().add("rate_limit", { rate: "10mbit" }).add("record");
 * ```
 */
export class ActorChain {
  readonly #entries: ActorEntry[] = [];

  get entries(): readonly ActorEntry[] {
    return this.#entries;
  }

  /** Appends an actor, by a built-in one's name or as a value. `rate_limit` also takes `per`: `connection` or `subflow`. */
  add<A extends Actor>(
    policy: string | A,
    inputs?: InputsOrMembers<A["params"]> & { readonly per?: "connection" | "subflow" },
  ): this {
    const actor = typeof policy === "string" ? builtInActor(policy) : policy;
    if (actor?.kind !== "actor") throw new TypeError(`Cannot add ${describe(actor)}: it is no actor`);
    const { own, fromMember } = separateMembers(actor, {
      ...(inputs as Readonly<Record<string, Input | MemberParameter>>),
    });
    const { per, ...rest } = own;
    const given: InputRecord = "per" in actor.params ? { ...rest, per } : rest;
    checkNames(actor, given);
    const omitted = new Set(Object.keys(fromMember));
    for (const [name, type, input] of completeInputs(actor, given, omitted))
      readWord(type, input, `${actor.name}.${name}`, anyInterface);
    this.#entries.push({ policy: actor, inputs: given, fromMember, ...(isPer(per, actor) && { per }) });
    return this;
  }
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
