/** What a submitted chain says of itself: kept in a map beside its pins, so that any process can list and change it. */
import type { ChainLayout, ChainMode, Hook, SelectorTree, SetField, SetSlot } from "../compiler/index.ts";
import type { ParameterType } from "../policy/index.ts";
import type { Expression } from "./compose.ts";

export type SelectorDescription =
  | { readonly op: "any" }
  | {
      readonly op: "policy";
      readonly name: string;
      readonly params: Readonly<Record<string, string>>;
      /** The set that the selector's members are in. */
      readonly set?: string;
    }
  | { readonly op: "and" | "or"; readonly terms: readonly SelectorDescription[] }
  | { readonly op: "not"; readonly term: SelectorDescription };

type PolicySelector = Extract<SelectorDescription, { op: "policy" }>;

/** The selectors of an expression, in the order of their counters. */
export function selectorsIn(node: SelectorDescription): PolicySelector[] {
  switch (node.op) {
    case "any":
      return [];
    case "policy":
      return [node];
    case "not":
      return selectorsIn(node.term);
    default:
      return node.terms.flatMap(selectorsIn);
  }
}

export interface ActorDescription {
  readonly name: string;
  /** On what it acts; packets where nothing is said. */
  readonly on?: "socket";
  /** Said when the actor does not do quite what its name was asked for. */
  readonly note?: string;
}

export interface Attachment {
  readonly hook: Hook;
  /** For packet hooks: name when it was attached, and index. */
  readonly interface?: string;
  readonly interfaceIndex?: number;
  /** For socket hooks. */
  readonly cgroup?: string;
  /** The pin's name in the chain's directory. */
  readonly pin: string;
}

export interface ChainDescription {
  readonly version: 1;
  readonly name: string;
  readonly selector: SelectorDescription;
  readonly actors: readonly ActorDescription[];
  readonly attachments: readonly Attachment[];
  /** As it was named, and its inode, by which it is recognised. */
  readonly netns: { readonly name?: string; readonly inode: number };
  readonly layout: ChainLayout;
  /** `fused` where it is absent. */
  readonly mode?: ChainMode;
  /** ISO 8601. */
  readonly submitted: string;
}

const bigintKey = "$bigint";

export function encodeDescription(description: ChainDescription): Uint8Array {
  const text = JSON.stringify(description, (_, value: unknown) =>
    typeof value === "bigint" ? { [bigintKey]: String(value) } : value,
  );
  return new TextEncoder().encode(text);
}

/** @throws SyntaxError when the bytes are no description */
export function decodeDescription(bytes: Uint8Array): ChainDescription {
  const text = new TextDecoder().decode(bytes).replace(/\0+$/, "");
  const parsed = JSON.parse(text, (_, value: unknown) => {
    const digits = (value as { [bigintKey]?: string } | null)?.[bigintKey];
    return typeof digits === "string" ? BigInt(digits) : value;
  }) as ChainDescription;
  if (parsed.version !== 1)
    throw new SyntaxError(`Cannot read the chain's description: version ${String(parsed.version)} is unknown`);
  return parsed;
}

/** Drops what only the type checker knows. */
export function plainParameter({ representation, expects, minimum, maximum, unit }: ParameterType): ParameterType {
  return {
    representation,
    expects,
    ...(minimum !== undefined && { minimum }),
    ...(maximum !== undefined && { maximum }),
    ...(unit && { unit }),
  };
}

export function plainSet<Slot extends SetSlot>(slot: Slot): Slot {
  return { ...slot, key: slot.key.map(plainField), params: slot.params.map(plainField) };
}

function plainField(field: SetField): SetField {
  return { ...field, type: plainParameter(field.type) };
}

export function describeExpression(expression: Expression): SelectorDescription {
  switch (expression.op) {
    case "any":
      return expression;
    case "policy": {
      const params = Object.fromEntries(
        Object.entries(expression.inputs).flatMap(([name, value]) =>
          value === undefined ? [] : [[name, String(value)]],
        ),
      );
      const set = expression.set?.name;
      return { op: "policy", name: expression.policy.name, params, ...(set !== undefined && { set }) };
    }
    case "not":
      return { op: "not", term: describeExpression(expression.term) };
    default:
      return { op: expression.op, terms: expression.terms.map(describeExpression) };
  }
}

/** `dst(prefix=10.0.0.0/8) and not packet_type(type=rst)`. */
export function showSelector(selector: SelectorDescription | SelectorTree, nested = false): string {
  switch (selector.op) {
    case "any":
      return "any TCP packet";
    case "policy": {
      if ("use" in selector) return selector.use.policy.name;
      const params = Object.entries(selector.params).map(([name, value]) => `${name}=${value}`);
      if (selector.set !== undefined) params.push(`in ${selector.set}`);
      return `${selector.name}(${params.join(", ")})`;
    }
    case "not":
      return `not ${showSelector(selector.term, true)}`;
    default: {
      const text = selector.terms.map((term) => showSelector(term, true)).join(` ${selector.op} `);
      return nested ? `(${text})` : text;
    }
  }
}
