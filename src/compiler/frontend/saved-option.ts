/** Options in records: written, and read again. */
import type ts from "#typescript";
import { integerSizes, type IntegerName } from "../../policy/types.ts";
import type { Value } from "../ir/ir.ts";
import type { Lowering } from "./lowering.ts";
import { describeValue, type Bytes, type LanguageValue } from "./values.ts";

type Saved = Extract<Bytes, { kind: "saved" }>;
const nop = 1;
const nops = 0x0101_0101_0101_0101n;
const maximumOption = 40;

/** `field.u16(4)`, `field.write([…])`. */
export function callOnSaved(
  lowering: Lowering,
  saved: Saved,
  method: string,
  argument: LanguageValue | undefined,
  node: ts.CallExpression,
): LanguageValue {
  if (method === "write") return write(lowering, saved, argument, node);
  const size = /^u(8|16|32|64)$/.test(method) ? integerSizes[method as IntegerName] : undefined;
  if (!size) return lowering.fail("unknownMember", node, "a saved option", `${method}()`);
  if (argument?.kind !== "literal" || argument.value < 0n || argument.value + BigInt(size) > saved.capacity)
    return lowering.fail("notConstant", node, "The offset, within the field,");
  const raw = lowering.builder.load(size, saved.at, Number(argument.value));
  return lowering.integer(
    method as IntegerName,
    size === 1 ? raw : lowering.builder.swap((8 * size) as 16 | 32 | 64, raw),
  );
}

function write(
  lowering: Lowering,
  { at, capacity }: Saved,
  value: LanguageValue | undefined,
  node: ts.CallExpression,
): LanguageValue {
  if (value?.kind !== "bytes") return lowering.fail("notOption", node, value ? describeValue(value) : "nothing");
  const { bytes } = value;
  if (bytes.kind === "list") {
    fillWithNops(lowering, at, capacity);
    writeOption(lowering, at, 0, bytes.items, Math.min(capacity, maximumOption), node);
  } else {
    if (bytes.capacity !== capacity) return lowering.fail("notOption", node, "a field of another length");
    copyBytes(lowering, bytes.at, at, 0, capacity);
  }
  lowering.effects?.acted();
  return { kind: "undefined" };
}

/** Copies `length` bytes from one memory to another, behind `offset` bytes there. */
export function copyBytes({ builder }: Lowering, from: Value, to: Value, offset: number, length: number): void {
  const words = length - (length % 8);
  const copy = (size: 1 | 8, at: number): void => builder.store(size, to, offset + at, builder.load(size, from, at));
  for (let at = 0; at < words; at += 8) copy(8, at);
  for (let at = words; at < length; at++) copy(1, at);
}

export function fillWithNops({ builder }: Lowering, at: Value, length: number): void {
  const words = length - (length % 8);
  for (let byte = 0; byte < words; byte += 8) builder.store(8, at, byte, builder.const(nops, 64));
  for (let byte = words; byte < length; byte++) builder.store(1, at, byte, builder.const(nop));
}

/** Writes an option to memory, NOPs behind it up to a multiple of 4; its length so filled up. */
export function writeOption(
  lowering: Lowering,
  memory: Value,
  offset: number,
  items: readonly LanguageValue[],
  most: number,
  node: ts.Node,
): number {
  const { builder } = lowering;
  const types = items.map((item): IntegerName => (item.kind === "integer" ? item.type : "u8"));
  const length = types.reduce((sum, type) => sum + integerSizes[type], 0);
  if (length < 2 || length > most) return lowering.fail("optionLength", node, length);
  let at = offset;
  items.forEach((item, i) => {
    const bytes = integerSizes[types[i]];
    const value = lowering.coerce(item, types[i], node);
    builder.store(bytes, memory, at, bytes === 1 ? value : builder.swap((8 * bytes) as 16 | 32 | 64, value));
    at += bytes;
  });
  const padded = Math.ceil(length / 4) * 4;
  for (; at < offset + padded; at++) builder.store(1, memory, at, builder.const(nop));
  return padded;
}
