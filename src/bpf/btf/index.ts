export { Btf, BtfError, type BtfField } from "./btf.ts";
export { BtfBuilder } from "./builder.ts";
export { BtfKind, IntEncoding, Linkage, type BtfKindName } from "./format.ts";
export type { BtfMember, BtfType } from "./types.ts";
