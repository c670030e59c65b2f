/**
 * A linked chain's order as data (paper 000, section IV-A): each sub-policy is a program of its own, and the array map
 * `steps` says which one follows on yes and on no. The map's only value holds 256 steps of 16 bytes; step 0 is the root,
 * whose `yes` is where packets begin. A chain is changed by writing steps that none leads to, and then the root's byte.
 */
import type { MapSpec } from "../bpf/spec.ts";
import type { SelectorTree } from "./frontend/fuse.ts";
import type { Hook } from "./frontend/hooks.ts";
import type { ChainLayout } from "./layout.ts";

export const stepsMap = "steps";
/** The program array of a hook: its programs must be of one type, and what `packet.ingress` means differs. */
export const programsMap = (hook: Hook): string => `${programArrayPrefix}${hook}`;
export const programArrayPrefix = "programs_";

export const stepSize = 16;
/** Steps are numbered by a byte, so that one byte decides where packets begin. */
export const maximumSteps = 256;
/** Indices of a program array, numbered by a byte too. */
export const maximumPrograms = 256;
/** Tail calls the kernel makes for one packet (MAX_TAIL_CALL_CNT, include/linux/bpf.h); one is kept for the end. */
export const maximumHops = 32;
/** As a successor: no further step, the packet goes on untouched. */
export const leave = 0;
/** The program that applies what the chain decided, first in every program array. */
export const endProgram = 0;

/** Byte offsets in a step. */
export const stepFields = { program: 0, yes: 1, no: 2, parameterType: 3, parameters: 4, counters: 8 } as const;

/** Where a step's parameters are: in the step itself, or that many bytes from the start of the parameters map (Fig. 4). */
export type ParameterPlace =
  { readonly type: "immediate"; readonly value: number } | { readonly type: "address"; readonly offset: number };
export const parameterTypes = { immediate: 0, address: 1 } as const;

export interface Step {
  /** Index in the hook's program array. */
  readonly program: number;
  /** Steps that follow: an actor's are the same. */
  readonly yes: number;
  readonly no: number;
  readonly parameters: ParameterPlace;
  /** Bytes from the start of the counters map to the step's first counter. */
  readonly counters: number;
}

/** Steps by number, and where packets begin. */
export interface StepGraph {
  readonly first: number;
  readonly steps: ReadonlyMap<number, Step>;
}

/** What a graph is made of: a selector tree whose selectors are numbers, counted from the left. */
export type Decision =
  | { readonly op: "any" }
  | { readonly op: "selector"; readonly selector: number }
  | { readonly op: "and" | "or"; readonly terms: readonly Decision[] }
  | { readonly op: "not"; readonly term: Decision };

/** A selector tree with its selectors numbered as `selectorsOf` lists them. */
export function numbered(tree: SelectorTree, next = { selector: 0 }): Decision {
  switch (tree.op) {
    case "any":
      return tree;
    case "policy":
      return { op: "selector", selector: next.selector++ };
    case "not":
      return { op: "not", term: numbered(tree.term, next) };
    default:
      return { op: tree.op, terms: tree.terms.map((term) => numbered(term, next)) };
  }
}

export const selectorProgram = (selector: number): number => 1 + selector;
export const actorProgram = (selectors: number, actor: number): number => 1 + selectors + actor;

/**
 * The graph of a chain of which `decision` selects packets and `actors`, in this order, act on them. An actor left out is
 * disabled; neither needs a program that the chain was not compiled with.
 * @param free numbers of steps to use; by default all but the root
 * @throws RangeError when there are too few, or a packet could take more hops than the kernel makes
 */
export function stepGraph(
  layout: ChainLayout,
  decision: Decision,
  actors: readonly number[],
  free: Iterable<number> = Array.from({ length: maximumSteps - 1 }, (_, i) => i + 1),
): StepGraph {
  const selectors = layout.counters.filter(({ kind }) => kind === "matched").length;
  const numbers = free[Symbol.iterator]();
  const steps = new Map<number, Step>();
  const hops = new Map<number, number>([[leave, 0]]);
  const add = (step: Step): number => {
    const { value: number, done } = numbers.next();
    if (done) throw new RangeError("Cannot link the chain: it has more sub-policies than there are steps");
    steps.set(number, step);
    const most = 1 + Math.max(hops.get(step.yes)!, hops.get(step.no)!);
    if (most > maximumHops)
      throw new RangeError(
        `Cannot link the chain: a packet could pass more than ${maximumHops} programs; use the fused mode`,
      );
    hops.set(number, most);
    return number;
  };
  const counter = (kind: "matched" | "acted", index: number): number =>
    8 *
    layout.counters.findIndex((slot) =>
      slot.kind === "matched"
        ? kind === slot.kind && slot.selector === index
        : slot.kind === "acted" && kind === slot.kind && slot.actor === index,
    );
  const build = (node: Decision, yes: number, no: number): number => {
    switch (node.op) {
      case "any":
        return yes;
      case "not":
        return build(node.term, no, yes);
      case "selector":
        return add({
          program: selectorProgram(node.selector),
          yes,
          no,
          parameters: { type: "immediate", value: 0 },
          counters: counter("matched", node.selector),
        });
      case "and":
        return node.terms.reduceRight((next, term) => build(term, next, no), yes);
      case "or":
        return node.terms.reduceRight((next, term) => build(term, yes, next), no);
    }
  };
  const end = add({
    program: endProgram,
    yes: leave,
    no: leave,
    parameters: { type: "immediate", value: 0 },
    counters: 0,
  });
  const acting = actors.reduceRight((next, actor) => {
    const slot = layout.parameters.find((parameter) => parameter.actor === actor);
    return add({
      program: actorProgram(selectors, actor),
      yes: next,
      no: next,
      parameters: slot ? { type: "address", offset: slot.offset } : { type: "immediate", value: 0 },
      counters: counter("acted", actor),
    });
  }, end);
  return { first: build(decision, acting, leave), steps };
}

/** Writes steps into the value of the steps map; the root is left as it is. */
export function writeSteps(value: Uint8Array, steps: StepGraph["steps"]): void {
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  for (const [number, { program, yes, no, parameters, counters }] of steps) {
    const at = number * stepSize;
    view.setUint8(at + stepFields.program, program);
    view.setUint8(at + stepFields.yes, yes);
    view.setUint8(at + stepFields.no, no);
    view.setUint8(at + stepFields.parameterType, parameterTypes[parameters.type]);
    const word = parameters.type === "address" ? parameters.offset : parameters.value;
    view.setUint32(at + stepFields.parameters, word, true);
    view.setUint32(at + stepFields.counters, counters, true);
  }
}

/** Says where packets begin: one byte, so that each packet meets the old chain or the new one. */
export function writeRoot(value: Uint8Array, first: number): void {
  value[stepFields.yes] = first;
}

/** The steps that packets can come to, by number, and the program of each. */
export function reachableSteps(value: Uint8Array): ReadonlyMap<number, number> {
  const found = new Map<number, number>();
  const visit = (number: number): void => {
    if (number === leave || found.has(number)) return;
    const at = number * stepSize;
    found.set(number, value[at + stepFields.program]);
    visit(value[at + stepFields.yes]);
    visit(value[at + stepFields.no]);
  };
  visit(value[stepFields.yes]);
  return found;
}

/** The steps map of a new chain. */
export function stepsSpec(graph: StepGraph): MapSpec {
  const value = new Uint8Array(maximumSteps * stepSize);
  writeSteps(value, graph.steps);
  writeRoot(value, graph.first);
  return {
    name: "emptcp_steps",
    type: "array",
    keySize: 4,
    valueSize: value.length,
    maxEntries: 1,
    contents: [{ key: new Uint8Array(4), value }],
  };
}
