/** The BTF format as tables (Documentation/bpf/btf.rst, include/uapi/linux/btf.h). */

export const BTF_MAGIC = 0xeb9f;
export const BTF_VERSION = 1;
export const HEADER_SIZE = 24;
/** Every type begins with name_off, info, and size or type. */
export const TYPE_HEADER_SIZE = 12;

export const BtfKind = {
  void: 0,
  int: 1,
  pointer: 2,
  array: 3,
  struct: 4,
  union: 5,
  enum: 6,
  forward: 7,
  typedef: 8,
  volatile: 9,
  const: 10,
  restrict: 11,
  function: 12,
  functionPrototype: 13,
  variable: 14,
  dataSection: 15,
  float: 16,
  declarationTag: 17,
  typeTag: 18,
  enum64: 19,
} as const;
export type BtfKindName = keyof typeof BtfKind;

/** Bytes after a type's header: fixed, and for each of its `vlen` members. Kinds that are not here have neither. */
export const extraSize: Readonly<Record<number, { readonly fixed: number; readonly perMember: number }>> = {
  [BtfKind.int]: { fixed: 4, perMember: 0 },
  [BtfKind.array]: { fixed: 12, perMember: 0 },
  [BtfKind.struct]: { fixed: 0, perMember: 12 },
  [BtfKind.union]: { fixed: 0, perMember: 12 },
  [BtfKind.enum]: { fixed: 0, perMember: 8 },
  [BtfKind.functionPrototype]: { fixed: 0, perMember: 8 },
  [BtfKind.variable]: { fixed: 4, perMember: 0 },
  [BtfKind.dataSection]: { fixed: 0, perMember: 12 },
  [BtfKind.declarationTag]: { fixed: 4, perMember: 0 },
  [BtfKind.enum64]: { fixed: 0, perMember: 12 },
};

/** Function linkage, in `vlen` of a function. */
export const Linkage = { static: 0, global: 1, extern: 2 } as const;
/** Encodings of an int. */
export const IntEncoding = { none: 0, signed: 1, char: 2, bool: 4 } as const;
