import { describe, expect, test } from "vitest";
import { encode } from "../bpf/encode.ts";
import * as asm from "../bpf/asm.ts";
import { readElfProgram } from "./elf.ts";

interface SectionInput {
  readonly name: string;
  readonly type: number;
  readonly bytes: Uint8Array;
  readonly size?: number;
  readonly link?: number;
  readonly info?: number;
}

const [progBits, symbolTable, stringTable, noBits, relocations] = [1, 2, 3, 8, 9];

function words(sizes: readonly number[], values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(sizes.reduce((sum, size) => sum + size, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  sizes.forEach((size, i) => {
    if (size === 8) view.setBigUint64(at, BigInt(values[i]), true);
    else if (size === 4) view.setUint32(at, values[i], true);
    else if (size === 2) view.setUint16(at, values[i], true);
    else view.setUint8(at, values[i]);
    at += size;
  });
  return bytes;
}
const join = (...parts: readonly Uint8Array[]): Uint8Array => Uint8Array.from(parts.flatMap((part) => [...part]));
const strings = (names: readonly string[]): Uint8Array => new TextEncoder().encode(`\0${names.join("\0")}\0`);
const nameAt = (names: readonly string[], index: number): number =>
  1 + names.slice(0, index).reduce((sum, name) => sum + name.length + 1, 0);

function elf(inputs: readonly SectionInput[]): Uint8Array {
  const names = [...inputs.map(({ name }) => name), ".strtab"];
  const sections: SectionInput[] = [...inputs, { name: ".strtab", type: stringTable, bytes: strings(names) }];
  let offset = 64;
  const headers = sections.map(({ type, bytes, size = bytes.length, link = 0, info = 0 }, i) => {
    const header = words(
      [4, 4, 8, 8, 8, 8, 4, 4, 8, 8],
      [nameAt(names, i), type, 0, 0, offset, size, link, info, 8, 0],
    );
    offset += bytes.length;
    return header;
  });
  const identity = Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, ...new Uint8Array(9));
  const rest = words(
    [2, 2, 4, 8, 8, 8, 4, 2, 2, 2, 2, 2, 2],
    [1, 247, 1, 0, 0, offset, 0, 64, 0, 0, 64, sections.length, sections.length - 1],
  );
  return join(identity, rest, ...sections.map(({ bytes }) => bytes), ...headers);
}

const symbolNames = ["flows", "params"];
const symbol = (name: number, section: number, value: number): Uint8Array =>
  words([4, 1, 1, 2, 8, 8], [name, 0, 0, section, value, 0]);
const relocate = (slot: number, which: number): Uint8Array => words([8, 4, 4], [slot * 8, 1, which]);

/** Sections: 0 the program, 1 its relocations, 2 the maps, 3 the variables, 4 symbols, 5 their names. */
function object(dataSection = ".bss"): Uint8Array {
  const code = encode(
    [asm.loadImm64(1, 0n), asm.alu64.mov.imm(0, 2), asm.loadImm64(2, 8n), asm.alu64.mov.imm(0, 0), asm.exit()],
    {},
  );
  const empty = new Uint8Array(0);
  return elf([
    { name: "xdp", type: progBits, bytes: code },
    { name: ".relxdp", type: relocations, bytes: join(relocate(0, 0), relocate(3, 1)), link: 4, info: 0 },
    { name: "maps", type: progBits, bytes: join(new Uint8Array(16), words([4, 4, 4, 4], [9, 40, 56, 65_536])) },
    { name: dataSection, type: noBits, bytes: empty, size: 24 },
    {
      name: ".symtab",
      type: symbolTable,
      bytes: join(symbol(nameAt(symbolNames, 0), 2, 16), symbol(nameAt(symbolNames, 1), 3, 4)),
      link: 5,
    },
    { name: ".names", type: stringTable, bytes: strings(symbolNames) },
  ]);
}

describe("readElfProgram()", () => {
  test("turns relocations into references, counting slots", () => {
    const { instructions } = readElfProgram(object(), "xdp");
    expect(instructions.map(({ reference }) => reference)).toEqual([
      { kind: "map", map: "flows" },
      undefined,
      { kind: "mapValue", map: ".bss", offset: 12 },
      undefined,
      undefined,
    ]);
  });

  test("reads maps by their symbols, and variables as one array", () => {
    expect(readElfProgram(object(), "xdp").maps).toEqual({
      flows: { name: "flows", type: "lruHash", keySize: 40, valueSize: 56, maxEntries: 65_536 },
      ".bss": { name: "bss", type: "array", keySize: 4, valueSize: 24, maxEntries: 1 },
    });
  });

  test("refuses what it cannot load rightly", () => {
    expect(() => readElfProgram(object(".data"), "xdp")).toThrow("it refers to .data");
    expect(() => readElfProgram(object(), "tc")).toThrow("it has no section tc");
    expect(() => readElfProgram(new Uint8Array(100), "xdp")).toThrow("no 64-bit little-endian ELF");
  });
});
