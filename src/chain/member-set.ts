/** Sets as a person composes them: a selector with any number of members, each with parameters of its own for the actors. */
import type { ConstantValue } from "../compiler/index.ts";
import { setSlot, type SetSlot } from "../compiler/sets.ts";
import type { Inputs, ParameterType, Parameters, Selector } from "../policy/index.ts";
import { builtInSelector } from "../policies/registry.ts";
import { checkNames, ParameterError, readConstant, type Input, type InputRecord } from "./inputs.ts";
import { encodeMembers } from "./members.ts";

export interface MemberSetOptions<P> {
  /** What the running chain calls it; the selector's name by default. */
  readonly name?: string;
  /** What each member brings along, by the types of the actors' parameters. */
  readonly params?: P;
  /** The most members there can be; 65 536 by default. Memory is only taken for those there are. */
  readonly max?: number;
  /** Parameters of the selector that all members share, such as `side` of `port`. */
  readonly constants?: InputRecord;
  /** Members from the start: what makes each, and its parameters. */
  readonly members?: readonly InputRecord[];
}

/** Which interfaces there are is known where the chain is submitted: in another network namespace, maybe. */
const anyInterface = (): number => 1;

/** A parameter of a set's members: given to an actor, it is that of the member matched. */
export class MemberParameter<T = unknown> {
  readonly set: MemberSet;
  readonly field: string;
  readonly type: ParameterType<T>;
  constructor(set: MemberSet, field: string, type: ParameterType<T>) {
    this.set = set;
    this.field = field;
    this.type = type;
  }
}

const namePattern = /^[a-z][a-z0-9_]{0,31}$/;
/** The kernel allows more; a member of this many takes a hundred bytes or so. */
const largestSet = 16_777_216;

/**
 * A selector's members in a map: any number of them cost one look-up, each has parameters of its own, and they may change
 * while the chain runs.
 *
 * ```ts
 * const phones = new MemberSet("src", { name: "phones", params: { rate }, members: [{ prefix: "10.0.0.7", rate: "5mbit" }] });
 * const chosen = new SelectorChain().select(phones);
 * const limit = new ActorChain().add("rate_limit", { rate: phones.param("rate") });
 * ```
 */
export class MemberSet<P extends Parameters = Parameters> {
  readonly name: string;
  readonly selector: Selector;
  readonly constants: Readonly<Record<string, ConstantValue>>;
  /** The constants as they were given. */
  readonly constantInputs: InputRecord;
  readonly slot: SetSlot;
  readonly members: readonly InputRecord[];
  readonly #params: P;

  /** @throws TypeError, RangeError, ParameterError: what is wrong with the set, or with which member */
  constructor(selector: string | Selector, options: MemberSetOptions<P> = {}) {
    const { params = {} as P, max = 65_536, constants = {}, members = [] } = options;
    this.selector = typeof selector === "string" ? builtInSelector(selector) : selector;
    if (this.selector?.kind !== "selector")
      throw new TypeError("Cannot make a set: give the name of a selector, or a selector");
    this.name = options.name ?? this.selector.name;
    const refuse = (why: string): never => {
      throw new RangeError(`Cannot make the set ${this.name}: ${why}`);
    };
    if (!namePattern.test(this.name))
      refuse("a name is made of a-z, 0-9 and _, starts with a letter and has at most 32");
    if (!Number.isInteger(max) || max < 1 || max > largestSet)
      refuse(`it can have 1 to ${largestSet} members, not ${max}`);
    this.slot = setSlot(this.name, this.selector, params, max);
    this.constantInputs = constants;
    this.constants = readConstants(this.selector, this.slot, constants);
    this.#params = params;
    this.members = members;
    const different = encodeMembers(this.slot, members, "make", anyInterface).length;
    if (different > max) refuse(`it was given ${different} members, and can have ${max}`);
  }

  /** A parameter of the member matched, for an actor. @throws ParameterError */
  param<K extends keyof P & string>(
    name: K,
  ): MemberParameter<P[K] extends ParameterType<infer T, infer _> ? T : never> {
    const type = this.#params[name] as ParameterType<never> | undefined;
    if (type) return new MemberParameter(this, name, type);
    const names = Object.keys(this.#params).join(", ");
    throw new ParameterError(
      `Cannot find parameter ${name} of the set ${this.name}: ${names ? `its members have ${names}` : "its members have none"}`,
    );
  }
}

/** The parameters of the selector that are no part of a member: all of them. */
function readConstants(selector: Selector, slot: SetSlot, inputs: InputRecord): Record<string, ConstantValue> {
  checkNames(selector, inputs);
  const own = slot.key.find(({ name }) => name in inputs);
  if (own)
    throw new ParameterError(`Cannot use ${own.name} as a constant of the set ${slot.name}: each member has its own`);
  const rest = (Object.entries(selector.params) as [string, ParameterType][]).filter(
    ([name]) => !slot.key.some((field) => field.name === name),
  );
  return Object.fromEntries(
    rest.map(([name, type]) => {
      const input = inputs[name] ?? (type.fallback as Input | undefined);
      if (input === undefined)
        throw new ParameterError(
          `Cannot make the set ${slot.name}: ${selector.name}.${name} is missing among its constants; give ${type.expects}`,
        );
      return [name, readConstant(type, input, `${selector.name}.${name}`)];
    }),
  );
}

/** What a person gives for an actor's parameters: values, or parameters of a set's members. */
export type InputsOrMembers<P> = { readonly [K in keyof Inputs<P>]?: Inputs<P>[K] | MemberParameter };
