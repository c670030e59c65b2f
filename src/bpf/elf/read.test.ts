import { describe, expect, test } from "vitest";
import * as asm from "../asm.ts";
import { encode } from "../encode.ts";
import { join, pack, SectionFlag, SectionType, SymbolType, writeContainer } from "./container.ts";
import { readElf, readElfProgram } from "./read.ts";

const words = (...values: readonly number[]): Uint8Array => pack(values.map((value) => [4, value]));
const relocate = (slot: number, symbol: number, type = 1): Uint8Array =>
  pack([
    [8, slot * 8],
    [4, type],
    [4, symbol],
  ]);
const program = { type: SectionType.program, flags: SectionFlag.allocate | SectionFlag.execute, info: 0 };
const data = { type: SectionType.program, flags: SectionFlag.allocate | SectionFlag.write, info: 0 };

/** As clang writes an old-style program: maps of four words each, variables addressed from the start of their section. */
function object({ dataSection = ".data", type = 1 } = {}): Uint8Array {
  const code = encode(
    [asm.loadImm64(1, 0n), asm.alu64.mov.imm(0, 2), asm.loadImm64(2, 8n), asm.alu64.mov.imm(0, 0), asm.exit()],
    {},
  );
  return writeContainer(
    [
      { name: "xdp", ...program, bytes: code },
      {
        name: ".relxdp",
        type: SectionType.relocations,
        flags: 0,
        info: 1,
        bytes: join([relocate(0, 2, type), relocate(3, 3)]),
      },
      { name: "maps", ...data, bytes: join([new Uint8Array(16), words(9, 40, 56, 65_536)]) },
      { name: dataSection, ...data, bytes: words(7, 0, 0, 0, 0, 0) },
    ],
    [
      { name: "limit", type: SymbolType.function, section: 1, value: 0, size: code.length },
      { name: "flows", type: SymbolType.object, section: 3, value: 16, size: 16 },
      { name: "params", type: SymbolType.object, section: 4, value: 4, size: 20 },
    ],
  );
}

describe("readElf()", () => {
  test("turns relocations into references, counting slots", () => {
    const { programs } = readElf(object());
    expect(programs.map(({ name, section }) => [name, section])).toEqual([["limit", "xdp"]]);
    expect(programs[0].instructions.map(({ reference }) => reference)).toEqual([
      { kind: "map", map: "flows" },
      undefined,
      { kind: "mapValue", map: ".data", offset: 12 },
      undefined,
      undefined,
    ]);
  });

  test("reads maps by their symbols, and the variables of a section as one array with what they hold at first", () => {
    expect(readElf(object()).maps).toEqual({
      flows: { name: "flows", type: "lruHash", keySize: 40, valueSize: 56, maxEntries: 65_536 },
      ".data": {
        name: "data",
        type: "array",
        keySize: 4,
        valueSize: 24,
        maxEntries: 1,
        contents: [{ key: new Uint8Array(4), value: words(7, 0, 0, 0, 0, 0) }],
      },
    });
  });

  test("refuses what it cannot load rightly", () => {
    expect(() => readElf(object({ dataSection: ".kconfig" }))).toThrow("it refers to .kconfig");
    expect(() => readElf(object({ type: 10 }))).toThrow("relocation 0 of xdp is not of a map or a variable");
    expect(() => readElf(new Uint8Array(100))).toThrow("no 64-bit little-endian ELF");
    expect(() => readElf(object().subarray(0, 600))).toThrow("reaches beyond its end");
  });
});

test("readElfProgram() picks a program by its section", () => {
  expect(Object.keys(readElfProgram(object(), "xdp").maps)).toEqual([".data", "flows"]);
  expect(() => readElfProgram(object(), "tc")).toThrow("it has no program in a section tc");
});
