import { describe, expect, it } from "vitest";
import { Btf, BtfError } from "./btf.ts";
import { BtfBuilder } from "./builder.ts";
import type { BtfType } from "./types.ts";

const everyKind: readonly BtfType[] = [
  { kind: "int", name: "int", size: 4, bits: 32, bitOffset: 0, encoding: 1 },
  { kind: "pointer", type: 4 },
  { kind: "array", type: 1, indexType: 1, length: 7 },
  {
    kind: "struct",
    name: "flow",
    size: 48,
    members: [
      { name: "first", type: 1, bitOffset: 0, bitSize: 0 },
      { name: "", type: 5, bitOffset: 32, bitSize: 0 },
      { name: "cells", type: 3, bitOffset: 64, bitSize: 0 },
      { name: "flag", type: 1, bitOffset: 291, bitSize: 3 },
    ],
  },
  {
    kind: "union",
    name: "",
    size: 4,
    members: [
      { name: "token", type: 8, bitOffset: 0, bitSize: 0 },
      { name: "id", type: 1, bitOffset: 0, bitSize: 0 },
    ],
  },
  { kind: "enum", name: "color", size: 4, signed: true, values: [{ name: "red", value: -1n }] },
  { kind: "forward", name: "later", union: true },
  { kind: "typedef", name: "u32", type: 1 },
  { kind: "volatile", type: 4 },
  { kind: "const", type: 1 },
  { kind: "restrict", type: 2 },
  { kind: "function", name: "run", type: 13, linkage: 1 },
  { kind: "functionPrototype", returns: 1, parameters: [{ name: "flow", type: 2 }] },
  { kind: "variable", name: "limit", type: 1, linkage: 0 },
  { kind: "dataSection", name: ".data", size: 4, variables: [{ type: 14, offset: 0, size: 4 }] },
  { kind: "float", name: "double", size: 8 },
  { kind: "declarationTag", name: "note", type: 4, component: -1 },
  { kind: "typeTag", name: "rcu", type: 4 },
  { kind: "enum64", name: "big", size: 8, signed: false, values: [{ name: "most", value: 0xffff_ffff_0000_0001n }] },
];

function build(types: readonly BtfType[]): Uint8Array {
  const builder = new BtfBuilder();
  for (const type of types) builder.add(type);
  return builder.build();
}

describe("Btf", () => {
  const btf = new Btf(build(everyKind));

  it("reads back every kind that BtfBuilder writes", () => {
    const read = Array.from({ length: btf.count - 1 }, (_, i) => btf.type(i + 1));
    expect(read).toEqual(everyKind);
  });

  it("field() finds members, members of anonymous unions, array elements and bit fields", () => {
    expect(btf.field("flow", "first")).toEqual({ offset: 0, size: 4, type: 1 });
    expect(btf.field("flow", "token")).toEqual({ offset: 4, size: 4, type: 8 });
    expect(btf.field("flow", "cells")).toEqual({ offset: 8, size: 28, type: 3 });
    expect(btf.field("flow", "cells[6]")).toEqual({ offset: 32, size: 4, type: 1 });
    expect(btf.field("flow", "flag")).toEqual({ offset: 36, size: 4, type: 1, bitField: { shift: 3, bits: 3 } });
  });

  it("field() names what is missing", () => {
    expect(() => btf.field("flow", "last")).toThrow(new BtfError("flow has no member last"));
    expect(() => btf.field("flow", "cells[7]")).toThrow(BtfError);
    expect(() => btf.field("stream", "first")).toThrow(new BtfError("there is no structure stream"));
  });

  it("function() finds functions by name", () => {
    expect(btf.function("run")).toBe(12);
    expect(() => btf.function("walk")).toThrow(BtfError);
  });

  it("refuses every truncation of a blob, and bytes that are none", () => {
    const bytes = build(everyKind);
    for (let length = 0; length < bytes.length; length++) {
      expect(() => new Btf(bytes.subarray(0, length)), `${length} bytes`).toThrow(BtfError);
    }
    expect(() => new Btf(new Uint8Array(100))).toThrow(BtfError);
  });
});
