/**
 * Sets: the members of a selector, such as the subflows that `subflow` matches, in a hash map from what makes a member to
 * its parameters; prefixes are in a trie. How keys and values lie there, for programs and for whoever writes members.
 */
import type { MapSpec } from "../bpf/spec.ts";
import type { Policy } from "../policy/policy.ts";
import { integerSizes, type ParameterType } from "../policy/types.ts";

export interface SetField {
  readonly name: string;
  readonly type: ParameterType;
  /** Bytes from the start of the key, or of the value. */
  readonly offset: number;
}

export interface SetSlot {
  readonly name: string;
  /** The key in a program's maps. */
  readonly map: string;
  /** The selector whose members these are, by name. */
  readonly selector: string;
  /** `hash`: a member is found as it is. `prefixes`: a member holds addresses, the longest prefix counts. */
  readonly kind: "hash" | "prefixes";
  readonly maxEntries: number;
  /** Addresses (16 bytes, IPv4 mapped), then integers, little-endian; for prefixes see `prefixKey`. */
  readonly key: readonly SetField[];
  readonly keySize: number;
  /** A 64-bit word each. */
  readonly params: readonly SetField[];
  readonly valueSize: number;
}

/** The key of a prefix: u32 bits that count, u32 family (4 or 6), which counts always, and the address as above. */
export const prefixKey = { familyBits: 32, addressOffset: 8, size: 24, mappedBits: 96 } as const;

const isKey = ({ representation }: ParameterType): boolean =>
  representation.kind === "address" || representation.kind === "prefix" || representation.kind === "integer";

/** The parameters of a selector that tell its members apart; words and booleans are constants of the whole set. */
export function memberFields(policy: Policy): [name: string, type: ParameterType][] {
  return (Object.entries(policy.params) as [string, ParameterType][]).filter(([, type]) => isKey(type));
}

/**
 * Lays out a set.
 * @param params what each member brings along for the actors
 * @throws TypeError when the selector has no members, or a parameter's name is taken
 */
export function setSlot(
  name: string,
  policy: Policy,
  params: Readonly<Record<string, ParameterType>>,
  maxEntries: number,
): SetSlot {
  const refuse = (why: string): never => {
    throw new TypeError(`Cannot make a set of ${policy.name}: ${why}`);
  };
  if (!policy.hasMembers) refuse("the selector does not say what its members are; give it a function member(packet)");
  const fields = memberFields(policy);
  const taken = Object.keys(params).find((param) => param in policy.params);
  if (taken !== undefined) refuse(`the parameter ${taken} is the selector's own; give it another name`);
  const common = {
    name,
    map: `set_${name}`,
    selector: policy.name,
    maxEntries,
    params: Object.entries(params).map(([param, type], i) => ({ name: param, type, offset: 8 * i })),
    valueSize: Math.max(8, 8 * Object.keys(params).length),
  };
  const text = Object.entries(params).find(([, { representation }]) => representation.kind === "text")?.[0];
  if (text !== undefined) refuse(`the parameter ${text} is a text, and members have numbers, words and booleans`);
  if (fields.some(([, { representation }]) => representation.kind === "prefix")) {
    if (fields.length > 1) refuse("a prefix has to be the only thing that makes a member; use addresses");
    const key = fields.map(([field, type]) => ({ name: field, type, offset: 0 }));
    return { ...common, kind: "prefixes", key, keySize: prefixKey.size };
  }
  let size = 0;
  const place = (wanted: boolean): SetField[] =>
    fields
      .filter(([, { representation }]) => (representation.kind === "address") === wanted)
      .map(([field, type]) => {
        const bytes = keyFieldSize(type);
        const alignment = Math.min(bytes, 8);
        const offset = Math.ceil(size / alignment) * alignment;
        size = offset + bytes;
        return { name: field, type, offset };
      });
  const key = [...place(true), ...place(false)];
  return { ...common, kind: "hash", key, keySize: Math.ceil(size / 8) * 8 };
}

/** Bytes of a member's field in the key. */
export function keyFieldSize({ representation }: ParameterType): number {
  return representation.kind === "integer" ? integerSizes[representation.type] : 16;
}

/** BPF_F_NO_PREALLOC: memory for the members there are, not for as many as there may be; tries want it. */
const noPrealloc = 1;

export function setMap({ name, kind, keySize, valueSize, maxEntries }: SetSlot): MapSpec {
  const common = { name: `em_${name}`.slice(0, 15), keySize, valueSize, flags: noPrealloc };
  if (kind === "hash") return { ...common, type: "hash", maxEntries };
  // Until Linux 6.13 a full trie would not even replace what it holds.
  return { ...common, type: "lpmTrie", maxEntries: maxEntries + 1 };
}
