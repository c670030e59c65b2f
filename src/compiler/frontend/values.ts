/** What an expression of a policy is while it is lowered: IR values with the language's types, constants and views. */
import type ts from "#typescript";
import { integerSizes, type IntegerName } from "../../policy/types.ts";
import type { Block, Value } from "../ir/ir.ts";
import type { Lowering } from "./lowering.ts";

export type LanguageValue =
  /** 32 bits wide up to u32 and i32, upper bits of smaller types zero; 64 bits for u64 and i64. */
  | {
      readonly kind: "integer";
      readonly type: IntegerName;
      readonly value: Value;
      /** Where it is one of a few constants: it fits every type that these fit. */
      readonly oneOf?: readonly bigint[];
    }
  /** An integer constant that takes the type it meets. */
  | { readonly kind: "literal"; readonly value: bigint }
  /** 0 or 1, 32 bits wide. */
  | { readonly kind: "boolean"; readonly value: Value }
  /** A boolean known while compiling: only the branch taken is compiled. */
  | { readonly kind: "static"; readonly value: boolean }
  | { readonly kind: "string"; readonly value: string }
  /** One of `words`, as its index. */
  | { readonly kind: "choice"; readonly words: readonly string[]; readonly value: Value }
  /** Characters in memory, zeros behind them up to `size`. */
  | { readonly kind: "text"; readonly at: Value; readonly size: number }
  | { readonly kind: "address"; readonly address: AddressValue }
  | { readonly kind: "prefix"; readonly prefix: ConstantPrefix }
  | { readonly kind: "view"; readonly view: View }
  /** A pointer that may be null; `view` is what it is otherwise. */
  | { readonly kind: "nullable"; readonly pointer: Value; readonly view: View }
  /** A TCP option: written out, or saved in a record. */
  | { readonly kind: "bytes"; readonly bytes: Bytes }
  | { readonly kind: "undefined" };

export type Bytes =
  /** Each item takes as many bytes as its type has; a literal takes one. */
  | { readonly kind: "list"; readonly items: readonly LanguageValue[] }
  /** In a record: the option, NOPs behind it; its length is its second byte, 0 when nothing was saved. */
  | { readonly kind: "saved"; readonly at: Value; readonly capacity: number };

export interface View {
  /** For messages: `packet.tcp`. */
  readonly name: string;
  get(lowering: Lowering, property: string, node: ts.Node): LanguageValue | undefined;
  /** Returns false when the property cannot be written. */
  set?(lowering: Lowering, property: string, value: LanguageValue, node: ts.Node): boolean;
  /** `property += value`; where it is missing, get and set serve. */
  add?(lowering: Lowering, property: string, value: LanguageValue, node: ts.Node): boolean;
  /** `fetchAdd(view.property, value)`: undefined where the property cannot be added to atomically. */
  fetchAdd?(lowering: Lowering, property: string, value: LanguageValue, node: ts.Node): LanguageValue | undefined;
  /** `compareExchange(view.property, expected, desired)`: as `fetchAdd`. */
  compareExchange?(
    lowering: Lowering,
    property: string,
    expected: LanguageValue,
    desired: LanguageValue,
    node: ts.Node,
  ): LanguageValue | undefined;
  /** The socket that this is, for records by socket: a pointer to a kernel's `struct sock` that may be null. */
  socketPointer?(lowering: Lowering): Value;
  /** Takes or sets the flag of a claimable record; undefined where it is none. */
  claim?(lowering: Lowering): LanguageValue | undefined;
  offer?(lowering: Lowering): LanguageValue | undefined;
  /** A method with arguments that are no values: names of types, constants. undefined for others. */
  callAsWritten?(lowering: Lowering, method: string, node: ts.CallExpression): LanguageValue | undefined;
  call?(
    lowering: Lowering,
    method: string,
    args: readonly LanguageValue[],
    node: ts.CallExpression,
  ): LanguageValue | undefined;
  /** A value that the loop left behind, without what the verifier learnt of it on each way through the loop. */
  blur?(lowering: Lowering, value: Value): Value;
  /** Lowers `view.find(test)`: the first item for which `test` goes to `yes`, as something that may be undefined. */
  find?(lowering: Lowering, test: (item: LanguageValue, yes: Block, no: Block) => void): LanguageValue;
  /** Whether such a loop may be inside another one. */
  readonly nests?: true;
  /**
   * Lowers `for (const item of view)`; `body` lowers the loop's body for one item, which goes on in `next`. There `forget`
   * hides from the verifier which constants the step has assigned, where `blurStep` says how.
   */
  iterate?(lowering: Lowering, body: (item: LanguageValue, next: Block) => void, exit: Block, forget: () => void): void;
  blurStep?(lowering: Lowering, value: Value): Value;
}

/** An address, loaded only as far as needed. Words are as in memory: loaded, not swapped. */
export type AddressValue =
  | { readonly kind: "constant"; readonly family: 4 | 6; readonly bytes: Uint8Array }
  | {
      readonly kind: "loaded";
      /** 1 for IPv4, 0 for IPv6; 32 bits. */
      isV4(): Value;
      /** The 4 bytes of an IPv4 address. */
      v4(): Value;
      /** The upper or lower 8 bytes of an IPv6 address. */
      half(which: 0 | 1): Value;
    };

export interface ConstantPrefix {
  readonly family: 4 | 6;
  /** 4 or 16 bytes. */
  readonly bytes: Uint8Array;
  /** Bits that count. */
  readonly length: number;
  /** Whether the parameter is a single address rather than a prefix. */
  readonly isAddress?: boolean;
}

export const widthOf = (type: IntegerName): 32 | 64 => (integerSizes[type] === 8 ? 64 : 32);
export const bitsOf = (type: IntegerName): number => integerSizes[type] * 8;
export const isSigned = (type: IntegerName): boolean => type.startsWith("i");

/** Whether the constant fits the type. */
export function fits(value: bigint, type: IntegerName): boolean {
  const bits = bitsOf(type);
  return isSigned(type) ? BigInt.asIntN(bits, value) === value : BigInt.asUintN(bits, value) === value;
}

/** For messages. */
export function describeValue(value: LanguageValue): string {
  switch (value.kind) {
    case "integer":
      return `${isSigned(value.type) ? "an" : "a"} ${value.type}`;
    case "literal":
      return `the number ${value.value}`;
    case "boolean":
    case "static":
      return "a boolean";
    case "string":
    case "choice":
    case "text":
      return "a string";
    case "address":
      return "an address";
    case "prefix":
      return "a prefix";
    case "view":
      return value.view.name;
    case "nullable":
      return `${value.view.name}, which may be undefined,`;
    case "bytes":
      return "bytes";
    case "undefined":
      return "undefined";
  }
}
