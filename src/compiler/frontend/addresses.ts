/** Addresses: comparing them, matching prefixes, and the key of a flow. */
import type ts from "#typescript";
import { parseIpAddress, parseIpPrefix, WireError } from "../../wire/index.ts";
import type { Block, Value } from "../ir/ir.ts";
import type { Lowering } from "./lowering.ts";
import type { AddressValue, ConstantPrefix, LanguageValue } from "./values.ts";

/** An address, or one that is written out: `"10.0.0.1"`. */
export function readAddress(lowering: Lowering, value: LanguageValue | undefined, node: ts.Node): AddressValue {
  if (value?.kind === "address") return value.address;
  if (value?.kind !== "string") return lowering.fail("addressUse", node);
  const bytes = parsed(() => parseIpAddress(value.value));
  if (!bytes) return lowering.fail("notAddress", node, JSON.stringify(value.value), "address");
  return { kind: "constant", family: bytes.length === 4 ? 4 : 6, bytes };
}

/** A prefix, or one that is written out: `"10.0.0.0/8"`. */
export function readPrefix(lowering: Lowering, value: LanguageValue | undefined, node: ts.Node): ConstantPrefix {
  if (value?.kind === "prefix") return value.prefix;
  if (value?.kind !== "string") return lowering.fail("addressUse", node);
  const prefix = parsed(() => parseIpPrefix(value.value));
  if (!prefix) return lowering.fail("notAddress", node, JSON.stringify(value.value), "prefix");
  const { address: bytes, length } = prefix;
  return { family: bytes.length === 4 ? 4 : 6, bytes, length };
}

function parsed<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (error instanceof WireError) return undefined;
    throw error;
  }
}

/** Bytes as the integer that a load of their size gives on a little-endian host. */
function loaded(bytes: Uint8Array): bigint {
  return bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
}

/** The mask of a prefix of `length` bits over `size` bytes. */
function maskBytes(length: number, size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => (0xff00 >> Math.min(8, Math.max(0, length - 8 * i))) & 0xff);
}

/** Goes to `yes` when the address lies in the prefix. */
export function branchInPrefix(
  lowering: Lowering,
  address: AddressValue,
  prefix: ConstantPrefix,
  yes: Block,
  no: Block,
): void {
  const { builder } = lowering;
  if (address.kind === "constant") return builder.jump(constantInPrefix(address.bytes, prefix) ? yes : no);
  const mask = maskBytes(prefix.length, prefix.bytes.length);
  const network = prefix.bytes.map((byte, i) => byte & mask[i]);
  const same = builder.block();
  builder.branch("eq", address.isV4(), builder.const(prefix.family === 4 ? 1 : 0), same, no);
  lowering.enter(same);
  if (prefix.family === 4) {
    const word = builder.binary("and", address.v4(), builder.const(loaded(mask)));
    return builder.branch("eq", word, builder.const(loaded(network)), yes, no);
  }
  for (const which of [0, 1] as const) {
    const at = which * 8;
    const bits = loaded(mask.subarray(at, at + 8));
    if (bits === 0n) continue;
    const next = builder.block();
    const half = builder.binary("and", address.half(which), builder.const(bits, 64));
    builder.branch("eq", half, builder.const(loaded(network.subarray(at, at + 8)), 64), next, no);
    lowering.enter(next);
  }
  builder.jump(yes);
}

function constantInPrefix(bytes: Uint8Array, prefix: ConstantPrefix): boolean {
  const mask = maskBytes(prefix.length, prefix.bytes.length);
  return bytes.length === prefix.bytes.length && bytes.every((byte, i) => ((byte ^ prefix.bytes[i]) & mask[i]) === 0);
}

/** Goes to `yes` when the two addresses are the same. */
export function branchSame(lowering: Lowering, a: AddressValue, b: AddressValue, yes: Block, no: Block): void {
  if (b.kind === "constant")
    return branchInPrefix(lowering, a, { family: b.family, bytes: b.bytes, length: b.bytes.length * 8 }, yes, no);
  if (a.kind === "constant") return branchSame(lowering, b, a, yes, no);
  const { builder } = lowering;
  const [left, right] = [halves(lowering, a), halves(lowering, b)];
  const differ = builder.binary(
    "or",
    builder.binary("xor", left[0], right[0]),
    builder.binary("xor", left[1], right[1]),
  );
  builder.branch("eq", differ, builder.const(0, 64), yes, no);
}

/** The 16 bytes of an address as two loaded words; IPv4 ones are mapped (::ffff:a.b.c.d, RFC 4291 section 2.5.5.2). */
export function halves(lowering: Lowering, address: AddressValue): readonly [Value, Value] {
  const { builder } = lowering;
  if (address.kind === "constant") {
    const bytes =
      address.family === 6 ? address.bytes : Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...address.bytes);
    return [builder.const(loaded(bytes.subarray(0, 8)), 64), builder.const(loaded(bytes.subarray(8)), 64)];
  }
  const [v4, v6, exit] = [builder.block(), builder.block(), builder.block()];
  const [upper, lower] = [lowering.variable("upper", "u64"), lowering.variable("lower", "u64")];
  builder.branch("ne", address.isV4(), builder.const(0), v4, v6);
  lowering.enter(v4);
  const word = builder.binary("shl", builder.zeroExtend(address.v4()), builder.const(32, 64));
  builder.write(upper, builder.const(0, 64));
  builder.write(lower, builder.binary("or", word, builder.const(0xffff_0000n, 64)));
  builder.jump(exit);
  lowering.enter(v6);
  builder.write(upper, address.half(0));
  builder.write(lower, address.half(1));
  builder.jump(exit);
  lowering.enter(exit);
  return [builder.read(upper), builder.read(lower)];
}
