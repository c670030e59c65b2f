/** A running chain as a `PolicyChain` again: its policies are found where its description says they are defined. */
import type { ChainLayout } from "../compiler/index.ts";
import type { Actor, Parameters, Policy, Selector } from "../policy/index.ts";
import { builtInActor, builtInSelector } from "../policies/registry.ts";
import { ActorChain, SelectorChain, type ActorEntry } from "./compose.ts";
import type { ChainDescription, SelectorDescription } from "./description.ts";
import { FileError } from "./errors.ts";
import { foreign, objectFile } from "./foreign.ts";
import type { Expression } from "./expression.ts";
import type { InputRecord } from "./inputs.ts";
import { importFile } from "./import-file.ts";
import { MemberSet } from "./member-set.ts";
import { PolicyChain } from "./policy-chain.ts";

/** @throws FileError when a file of a policy is not there any more, or does not define it any more */
export async function rebuildChain(description: ChainDescription): Promise<PolicyChain> {
  const { name, selector, actors, options, netns, mode, layout } = description;
  const find = new PolicyFinder(name);
  const sets = new Map<string, MemberSet>();
  let index = 0;
  const expression = async (node: SelectorDescription): Promise<Expression> => {
    switch (node.op) {
      case "any":
        return node;
      case "policy": {
        const { inputs, disabled } = node;
        const origin = index++;
        const policy = await find.selector(node.name, node.file);
        const set =
          node.set === undefined ? undefined : (sets.get(node.set) ?? rebuildSet(policy, inputs, layout, node.set));
        if (set) sets.set(set.name, set);
        return { op: "policy", policy, inputs, origin, ...(set && { set }), ...(disabled && { disabled }) };
      }
      case "not":
        return { op: "not", term: await expression(node.term) };
      default: {
        const terms: Expression[] = [];
        for (const term of node.terms) terms.push(await expression(term));
        return { op: node.op, terms };
      }
    }
  };
  const selectors = new SelectorChain(await expression(selector));
  const entries: ActorEntry[] = [];
  for (const [origin, { name: done, given, disabled }] of actors.entries()) {
    const { inputs, per } = given;
    const policy = await find.actor(given.name, given.file, parametersOf(layout, origin));
    const fromMember = Object.fromEntries(
      Object.entries(given.fromMember ?? {}).map(([param, { set, field }]) => [param, sets.get(set)!.param(field)]),
    );
    entries.push({ policy, inputs, fromMember, origin, done, ...(per && { per }), ...(disabled && { disabled }) });
  }
  return new PolicyChain(selectors, new ActorChain(entries), {
    ...options,
    name,
    ...(mode && { mode }),
    ...(netns.name !== undefined && { netns: netns.name }),
  });
}

/** A set without its members: those are in the map that the changed chain goes on with. */
function rebuildSet(selector: Selector, constants: InputRecord, { sets }: ChainLayout, name: string): MemberSet {
  const { params, maxEntries } = sets.find((slot) => slot.name === name)!;
  const types = Object.fromEntries(params.map(({ name: param, type }) => [param, type]));
  return new MemberSet(selector, { name, params: types, max: maxEntries, constants });
}

const parametersOf = ({ parameters }: ChainLayout, index: number): Parameters =>
  Object.fromEntries(parameters.filter(({ actor }) => actor === index).map(({ name, type }) => [name, type]));

class PolicyFinder {
  readonly #chain: string;
  constructor(chain: string) {
    this.#chain = chain;
  }

  async selector(name: string, file: string | undefined): Promise<Selector> {
    if (file?.endsWith(objectFile))
      return this.#foreign(file, () => foreign({ kind: "selector", file, program: name }));
    return file === undefined ? builtInSelector(name) : ((await this.#find("selector", name, file)) as Selector);
  }

  async actor(name: string, file: string | undefined, params: Parameters): Promise<Actor> {
    if (file?.endsWith(objectFile))
      return this.#foreign(file, () => foreign({ kind: "actor", file, program: name, params }));
    return file === undefined ? builtInActor(name) : ((await this.#find("actor", name, file)) as Actor);
  }

  #foreign<P extends Policy>(file: string, read: () => P): P {
    try {
      return read();
    } catch (cause) {
      throw new FileError(`Cannot change chain ${this.#chain}: ${file} cannot be used. ${(cause as Error).message}`, {
        cause,
      });
    }
  }

  async #find(kind: Policy["kind"], name: string, file: string): Promise<Policy> {
    const found = findPolicy(await this.#import(kind, name, file), kind, name);
    if (found) return found;
    throw new FileError(
      `Cannot change chain ${this.#chain}: ${file} does not define ${kind} ${name} any more; ` +
        "it must be exported, or be part of a chain that is",
    );
  }

  async #import(kind: string, name: string, file: string): Promise<Readonly<Record<string, unknown>>> {
    try {
      return await importFile(file);
    } catch (cause) {
      throw new FileError(
        `Cannot change chain ${this.#chain}: its ${kind} ${name} comes from a file that cannot be loaded. ${(cause as Error).message}`,
        { cause },
      );
    }
  }
}

/** A policy that a file exports, by itself or within a chain. @throws FileError when the file cannot be loaded */
export async function findInFile(kind: Policy["kind"], name: string, file: string): Promise<Policy | undefined> {
  return findPolicy(await importFile(file), kind, name);
}

function findPolicy(module: Readonly<Record<string, unknown>>, kind: Policy["kind"], name: string): Policy | undefined {
  return policiesIn(module).find((one) => one.kind === kind && one.name === name);
}

/** The policies that a module exports, by themselves or within chains. */
function policiesIn(module: Readonly<Record<string, unknown>>): Policy[] {
  return Object.values(module).flatMap((value): Policy[] => {
    if (value instanceof PolicyChain)
      return [...value.selectors.entries, ...value.actors.entries].map(({ policy }): Policy => policy);
    if (value instanceof SelectorChain || value instanceof ActorChain)
      return value.entries.map(({ policy }): Policy => policy);
    return isPolicy(value) ? [value] : [];
  });
}

function isPolicy(value: unknown): value is Policy {
  const policy = value as Partial<Policy> | null | undefined;
  return typeof policy === "object" && policy !== null && "module" in policy && typeof policy.name === "string";
}
