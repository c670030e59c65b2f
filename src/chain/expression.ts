/** Selector expressions as data, and what can be done with their parts. Pure. */
import type { Selector } from "../policy/index.ts";
import type { InputRecord } from "./inputs.ts";
import type { MemberSet } from "./member-set.ts";

/** A selector as a person gave it. */
export interface SelectorEntry {
  readonly op: "policy";
  readonly policy: Selector;
  readonly inputs: InputRecord;
  /** What its members are in, where it has any. */
  readonly set?: MemberSet;
  /** Left out for now: the expression is what it would be without it. */
  readonly disabled?: true;
  /** Which one it is in the running chain that this expression comes from, from 0. */
  readonly origin?: number;
}

/** A selector expression as a person composed it. */
export type Expression =
  | { readonly op: "any" }
  | SelectorEntry
  | { readonly op: "and" | "or"; readonly terms: readonly Expression[] }
  | { readonly op: "not"; readonly term: Expression };

/** The selectors of an expression, from left to right. */
export function selectorEntries(expression: Expression): SelectorEntry[] {
  switch (expression.op) {
    case "any":
      return [];
    case "policy":
      return [expression];
    case "not":
      return selectorEntries(expression.term);
    default:
      return expression.terms.flatMap(selectorEntries);
  }
}

/** Puts something in the place of each selector, or nothing; what holds nothing any more goes too. */
export function mapSelectors(
  expression: Expression,
  change: (entry: SelectorEntry, index: number) => Expression | undefined,
): Expression {
  let index = 0;
  const visit = (node: Expression): Expression | undefined => {
    switch (node.op) {
      case "any":
        return node;
      case "policy":
        return change(node, index++);
      case "not": {
        const term = visit(node.term);
        return term && { op: "not", term };
      }
      default: {
        const terms = node.terms.flatMap((term) => visit(term) ?? []);
        return terms.length > 1 ? { op: node.op, terms } : terms[0];
      }
    }
  };
  return visit(expression) ?? { op: "any" };
}

/** The part that decides: without the selectors that are disabled. */
export function enabledPart(expression: Expression): Expression {
  return mapSelectors(expression, (entry) => (entry.disabled ? undefined : entry));
}

/**
 * Puts `term` before selector number `index` (from 0), or behind the last one: into the AND or OR that holds it, else into
 * an AND.
 */
export function insertTerm(expression: Expression, index: number, term: Expression): Expression {
  if (expression.op === "any") return term;
  const count = selectorEntries(expression).length;
  if (index >= count)
    return expression.op === "and" || expression.op === "or"
      ? { op: expression.op, terms: [...expression.terms, term] }
      : { op: "and", terms: [expression, term] };
  const visit = (node: Expression, before: number): Expression => {
    if (node.op !== "and" && node.op !== "or") return { op: "and", terms: [term, node] };
    let seen = before;
    const terms: Expression[] = [];
    for (const one of node.terms) {
      const within = selectorEntries(one).length;
      const isHere = index >= seen && index < seen + within;
      const isNested =
        isHere && (one.op === "and" || one.op === "or" || (one.op === "not" && one.term.op !== "policy"));
      if (isHere && !isNested) terms.push(term);
      terms.push(isNested ? nested(one, seen) : one);
      seen += within;
    }
    return { op: node.op, terms };
  };
  const nested = (node: Expression, before: number): Expression =>
    node.op === "not" ? { op: "not", term: visit(node.term, before) } : visit(node, before);
  return expression.op === "not" && expression.term.op !== "policy" ? nested(expression, 0) : visit(expression, 0);
}
