/** What the kernel is told about a map's key and value where it must know, e.g. where in the value a spin lock is. */
import { BtfBuilder } from "./btf/builder.ts";
import { IntEncoding } from "./btf/format.ts";
import type { BtfMember } from "./btf/types.ts";
import type { MapSpec } from "./spec.ts";

/** Bytes of a `struct bpf_spin_lock`. */
export const spinLockSize = 4;

/** Type information, and the numbers of the key's and the value's type in it. */
export interface MapInfoBlob {
  readonly btf: Uint8Array;
  readonly keyType: number;
  readonly valueType: number;
}

/** Adds the types of a map's key and value: integers and bytes, and the lock as the kernel wants to see it. */
export function addMapTypes(builder: BtfBuilder, spec: MapSpec): { readonly key: number; readonly value: number } {
  const integer = (name: string, size: number): number =>
    builder.add({ kind: "int", name, size, bits: 8 * size, bitOffset: 0, encoding: 0 });
  const word = integer("unsigned int", 4);
  const byte = builder.add({ kind: "int", name: "char", size: 1, bits: 8, bitOffset: 0, encoding: IntEncoding.char });
  const bytes = (length: number): number => builder.add({ kind: "array", type: byte, indexType: word, length });
  // Arrays take nothing but an integer of 4 bytes.
  const key = spec.keySize === 4 ? word : bytes(spec.keySize);
  const { spinLockAt, valueSize } = spec;
  if (spinLockAt === undefined) return { key, value: bytes(valueSize) };
  const lock = builder.add({
    kind: "struct",
    name: "bpf_spin_lock",
    size: spinLockSize,
    members: [{ name: "val", type: word, bitOffset: 0, bitSize: 0 }],
  });
  const members: BtfMember[] = [];
  const member = (name: string, type: number, offset: number): void => {
    members.push({ name, type, bitOffset: 8 * offset, bitSize: 0 });
  };
  const behind = spinLockAt + spinLockSize;
  if (spinLockAt > 0) member("before", bytes(spinLockAt), 0);
  member("lock", lock, spinLockAt);
  if (valueSize > behind) member("behind", bytes(valueSize - behind), behind);
  return { key, value: builder.add({ kind: "struct", name: "record", size: valueSize, members }) };
}

/** Describes a map; undefined for one that the kernel need not know more of. Storage of sockets always needs it. */
export function mapInfo(spec: MapSpec): MapInfoBlob | undefined {
  if (spec.spinLockAt === undefined && spec.type !== "skStorage") return undefined;
  const builder = new BtfBuilder();
  const { key, value } = addMapTypes(builder, spec);
  return { btf: builder.build(), keyType: key, valueType: value };
}
