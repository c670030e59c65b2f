/** BTF types as plain data. Types refer to each other by number; 0 is void. */

export interface BtfMember {
  readonly name: string;
  readonly type: number;
  /** From the start of the structure. */
  readonly bitOffset: number;
  /** Bits of a bit field; 0 for a whole member. */
  readonly bitSize: number;
}

export type BtfType =
  /** Encoding: bits of `IntEncoding`. */
  | {
      readonly kind: "int";
      readonly name: string;
      readonly size: number;
      readonly bits: number;
      readonly bitOffset: number;
      readonly encoding: number;
    }
  | { readonly kind: "pointer" | "volatile" | "const" | "restrict"; readonly type: number }
  | { readonly kind: "typedef" | "typeTag"; readonly name: string; readonly type: number }
  | { readonly kind: "array"; readonly type: number; readonly indexType: number; readonly length: number }
  | {
      readonly kind: "struct" | "union";
      readonly name: string;
      readonly size: number;
      readonly members: readonly BtfMember[];
    }
  | {
      readonly kind: "enum" | "enum64";
      readonly name: string;
      readonly size: number;
      readonly signed: boolean;
      readonly values: readonly { readonly name: string; readonly value: bigint }[];
    }
  | { readonly kind: "forward"; readonly name: string; readonly union: boolean }
  | { readonly kind: "function"; readonly name: string; readonly type: number; readonly linkage: number }
  /** A last parameter of type 0 without a name stands for `...`. */
  | {
      readonly kind: "functionPrototype";
      readonly returns: number;
      readonly parameters: readonly { readonly name: string; readonly type: number }[];
    }
  | { readonly kind: "variable"; readonly name: string; readonly type: number; readonly linkage: number }
  | {
      readonly kind: "dataSection";
      readonly name: string;
      readonly size: number;
      readonly variables: readonly { readonly type: number; readonly offset: number; readonly size: number }[];
    }
  | { readonly kind: "float"; readonly name: string; readonly size: number }
  /** `component` is the index of the member or parameter it is about, -1 for the whole. */
  | { readonly kind: "declarationTag"; readonly name: string; readonly type: number; readonly component: number };
