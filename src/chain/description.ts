/** What a submitted chain says of itself: kept in a map beside its pins, so that any process can list and change it. */
import type { ChainLayout, ChainMode, Decision, Hook, SelectorTree, SetField, SetSlot } from "../compiler/index.ts";
import type { ParameterType, Policy } from "../policy/index.ts";
import type { ChainCounters } from "./counters.ts";
import type { Expression } from "./expression.ts";
import type { InputRecord } from "./inputs.ts";
import { isBuiltIn, modulePath } from "./origins.ts";

/** What it takes to find a policy and its parameters again. */
export interface PolicyOrigin {
  /** The module that defines it: a path; absent for built-in ones. */
  readonly file?: string;
  readonly inputs: InputRecord;
  readonly disabled?: true;
}

export interface SelectorPolicyDescription extends PolicyOrigin {
  readonly op: "policy";
  readonly name: string;
  /** As a person would write them. */
  readonly params: Readonly<Record<string, string>>;
  /** The set that the selector's members are in. */
  readonly set?: string;
}

export type SelectorDescription =
  | { readonly op: "any" }
  | SelectorPolicyDescription
  | { readonly op: "and" | "or"; readonly terms: readonly SelectorDescription[] }
  | { readonly op: "not"; readonly term: SelectorDescription };

export interface ActorDescription {
  /** What is done. */
  readonly name: string;
  /** On what it acts; packets where nothing is said. */
  readonly on?: "socket";
  readonly disabled?: true;
  /** Said when the actor does not do quite what its name was asked for. */
  readonly note?: string;
  /** What was asked for; `per` as for `ActorChain.add`. */
  readonly given: PolicyOrigin & {
    readonly name: string;
    readonly per?: "connection" | "subflow";
    /** Parameters that are those of the member matched: which set's, and which. */
    readonly fromMember?: Readonly<Record<string, { readonly set: string; readonly field: string }>>;
  };
}

export interface Attachment {
  readonly hook: Hook;
  /** For packet hooks: name when it was attached, and index. */
  readonly interface?: string;
  readonly interfaceIndex?: number;
  /** The interface is gone, or was made anew: nothing is attached there. Found out when it is asked for, never stored. */
  readonly gone?: true;
  /** For socket hooks. */
  readonly cgroup?: string;
  /** The pin's name in the chain's directory. */
  readonly pin: string;
}

/** What of `ChainOptions` a chain was submitted with. */
export interface GivenOptions {
  readonly interfaces?: readonly string[];
  readonly direction?: "ingress" | "egress" | "both";
  readonly hook?: "tcx" | "xdp";
  readonly cgroup?: string;
  readonly priority?: number;
}

export const currentVersion = 2;

export interface ChainDescription {
  readonly version: number;
  /** Why the chain cannot be changed; absent when it can. */
  readonly fixed?: string;
  readonly name: string;
  /** Counts how often the chain was replaced, from 1. */
  readonly generation: number;
  readonly options: GivenOptions;
  readonly selector: SelectorDescription;
  readonly actors: readonly ActorDescription[];
  readonly attachments: readonly Attachment[];
  /** As it was named, and its inode, by which it is recognised. */
  readonly netns: { readonly name?: string; readonly inode: number };
  readonly layout: ChainLayout;
  /** `fused` where it is absent. */
  readonly mode?: ChainMode;
  /** Of a linked chain: its selectors as they were compiled. */
  readonly decision?: Decision;
  /** ISO 8601. */
  readonly submitted: string;
  /** Since when it is as it is, where it has been replaced. */
  readonly changed?: string;
  /** What was counted before that. */
  readonly history?: CounterHistory;
}

export interface CounterHistory {
  /** The sums in the counters map at that moment, by place. */
  readonly base: readonly number[];
  readonly totals: ChainCounters;
}

/** The selectors of an expression, in the order of their counters. */
export function selectorsIn(node: SelectorDescription): SelectorPolicyDescription[] {
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

const bigintKey = "$bigint";

export function encodeDescription(description: ChainDescription): Uint8Array {
  const text = JSON.stringify(description, (_, value: unknown) =>
    typeof value === "bigint" ? { [bigintKey]: String(value) } : value,
  );
  return new TextEncoder().encode(text);
}

/** @throws SyntaxError when the bytes are no description; UnknownVersionError for one of a later version */
export function decodeDescription(bytes: Uint8Array): ChainDescription {
  const text = new TextDecoder().decode(bytes).replace(/\0+$/, "");
  const parsed = JSON.parse(text, (_, value: unknown) => {
    const digits = (value as { [bigintKey]?: string } | null)?.[bigintKey];
    return typeof digits === "string" ? BigInt(digits) : value;
  }) as ChainDescription;
  if (parsed?.version === 1) return upgrade(parsed);
  if (typeof parsed?.version !== "number") throw new SyntaxError("Cannot read the chain's description: it is none");
  if (parsed.version !== currentVersion) throw new UnknownVersionError(parsed.version);
  return parsed;
}

/** A description that this version cannot read, of a chain that can still be listed and removed. */
export class UnknownVersionError extends SyntaxError {
  override readonly name = "UnknownVersionError";
  readonly version: number;
  constructor(version: number) {
    super(`Cannot read the chain's description: version ${String(version)} is unknown`);
    this.version = version;
  }
}

/** Version 1 did not say where its policies come from; its counters and parameters lie as they still do. */
function upgrade(old: ChainDescription): ChainDescription {
  return {
    ...old,
    fixed: "an earlier version of emptcp attached it, and did not note where its policies come from",
    generation: 1,
    options: {},
    layout: { ...emptyLayout, parameters: old.layout.parameters, counters: old.layout.counters },
  };
}

const emptyLayout: ChainLayout = {
  parameters: [],
  counters: [],
  state: [],
  events: [],
  sets: [],
  memberParameters: [],
};

const hookNames: readonly string[] = ["xdp", "tcx_ingress", "tcx_egress", "sock_ops", "iter_tcp", "iter_tcp_release"];

/** What a pin's name says, as this version and those before it name links. */
function attachmentsOfPin(pin: string): Attachment[] {
  const match = /^link_([a-z_]+?)(?:_(\d+))?$/.exec(pin);
  if (!match || !hookNames.includes(match[1])) return [];
  const index = match[2] === undefined ? undefined : Number(match[2]);
  const place = index !== undefined && { interface: `interface ${index}`, interfaceIndex: index };
  return [{ hook: match[1] as Hook, ...place, pin }];
}

/** What can be said of a chain whose description cannot be read: its name, and that it may be removed. */
export function foreignDescription(name: string, version: number, pins: readonly string[]): ChainDescription {
  return {
    version,
    fixed: `another version of emptcp attached it (its description has version ${version}, this one knows ${currentVersion})`,
    name,
    generation: 1,
    options: {},
    selector: { op: "any" },
    actors: [],
    attachments: pins.flatMap(attachmentsOfPin),
    netns: { inode: 0 },
    layout: emptyLayout,
    submitted: "",
  };
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

export function plainSet(slot: SetSlot): SetSlot {
  return { ...slot, key: slot.key.map(plainField), params: slot.params.map(plainField) };
}

function plainField(field: SetField): SetField {
  return { ...field, type: plainParameter(field.type) };
}

/** Where a policy comes from, and with what it is used. */
export function originOf(policy: Policy, inputs: InputRecord, disabled?: true): PolicyOrigin {
  const file = isBuiltIn(policy) ? undefined : modulePath(policy.module);
  return { ...(file !== undefined && { file }), inputs, ...(disabled && { disabled }) };
}

export function describeExpression(expression: Expression): SelectorDescription {
  switch (expression.op) {
    case "any":
      return expression;
    case "policy": {
      const { policy, inputs, disabled, set } = expression;
      const params = Object.fromEntries(
        Object.entries(inputs).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]])),
      );
      const origin = originOf(policy, inputs, disabled);
      return { op: "policy", name: policy.name, params, ...(set && { set: set.name }), ...origin };
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
      return `${selector.name}(${params.join(", ")})${selector.disabled ? " [disabled]" : ""}`;
    }
    case "not":
      return `not ${showSelector(selector.term, true)}`;
    default: {
      const text = selector.terms.map((term) => showSelector(term, true)).join(` ${selector.op} `);
      return nested ? `(${text})` : text;
    }
  }
}
