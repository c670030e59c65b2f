/** Members of a set as a person gives them, and as they lie in its map. */
import { keyFieldSize, prefixKey, type SetField, type SetSlot } from "../compiler/sets.ts";
import { integerSizes } from "../policy/index.ts";
import { addressText } from "../linux/index.ts";
import { formatIpAddress, parseIpAddress, parseIpPrefix, WireError } from "../wire/index.ts";
import { ParameterError, readWord, showWord, type InputRecord } from "./inputs.ts";

export interface EncodedMember {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** A member as a person would write it: what makes it, then its parameters. */
export type MemberRecord = Readonly<Record<string, string>>;

/**
 * Encodes members; of two that are the same the later one counts.
 * @param doing for messages: `add`
 * @param interfaceOf the numbers of interfaces named in parameters; by default those of the current network namespace
 * @throws ParameterError that says which member is wrong, and why
 */
export function encodeMembers(
  slot: SetSlot,
  members: readonly InputRecord[],
  doing: string,
  interfaceOf?: (name: string) => number,
): EncodedMember[] {
  const encoded = new Map<string, EncodedMember>();
  members.forEach((member, i) => {
    const one = describing(slot, member, i, doing, () => {
      checkFields(slot, member, [...slot.key, ...slot.params]);
      return { key: encodeKey(slot, member), value: encodeParams(slot, member, interfaceOf) };
    });
    encoded.set(keyText(one.key), one);
  });
  return [...encoded.values()];
}

/** The keys of members; parameters may be left out, but not be wrong. @throws ParameterError that says which member is wrong, and why */
export function encodeKeys(slot: SetSlot, members: readonly InputRecord[], doing: string): Uint8Array[] {
  return members.map((member, i) =>
    describing(slot, member, i, doing, () => {
      checkFields(slot, member, slot.key);
      changeParams(slot, new Uint8Array(slot.valueSize), member);
      return encodeKey(slot, member);
    }),
  );
}

/** A value with some of its parameters changed. */
export function changeParams(slot: SetSlot, value: Uint8Array, member: InputRecord): Uint8Array {
  const changed = value.slice();
  for (const field of slot.params) if (member[field.name] !== undefined) writeParam(changed, field, member);
  return changed;
}

export function keyText(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1");
}

/** Which member of how many is wrong, in front of what is wrong with it. */
function describing<T>(slot: SetSlot, member: InputRecord, index: number, doing: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof ParameterError)) throw error;
    throw new ParameterError(
      `Cannot ${doing} member ${index + 1} of the set ${slot.name} (${showInputs(member)}): ${error.message}; nothing was changed`,
      { cause: error },
    );
  }
}

function showInputs(member: unknown): string {
  if (typeof member !== "object" || member === null) return String(member);
  return Object.entries(member)
    .map(([name, value]) => `${name}=${String(value)}`)
    .join(" ");
}

function checkFields(slot: SetSlot, member: InputRecord, needed: readonly SetField[]): void {
  const known = [...slot.key, ...slot.params];
  const isRecord = typeof member === "object" && member !== null;
  const missing = needed.find(({ name }) => !isRecord || member[name] === undefined);
  const unknown = isRecord
    ? Object.keys(member).find((name) => !known.some((field) => field.name === name))
    : undefined;
  if (missing === undefined && unknown === undefined) return;
  const problem = unknown !== undefined ? `there is no ${unknown}` : `${missing!.name} is missing`;
  throw new ParameterError(`${problem}; a member has ${known.map(({ name }) => name).join(", ")}`);
}

function encodeKey(slot: SetSlot, member: InputRecord): Uint8Array {
  const key = new Uint8Array(slot.keySize);
  const view = new DataView(key.buffer);
  for (const { name, type, offset } of slot.key) {
    const input = member[name]!;
    if (type.representation.kind === "integer") {
      writeInteger(view, offset, keyFieldSize(type), readWord(type, input, name));
      continue;
    }
    try {
      if (slot.kind === "prefixes") writePrefix(view, String(input));
      else key.set(mapped(parseIpAddress(String(input))), offset);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      throw new ParameterError(`${name}: ${error.message}; it takes ${type.expects}`, { cause: error });
    }
  }
  return key;
}

/** 16 bytes, IPv4 mapped (RFC 4291, section 2.5.5.2). */
function mapped(address: Uint8Array): Uint8Array {
  if (address.length === 16) return address;
  const bytes = new Uint8Array(16).fill(0xff, 10, 12);
  bytes.set(address, 12);
  return bytes;
}

function writePrefix(view: DataView, text: string): void {
  const { address, length } = parseIpPrefix(text);
  const isV4 = address.length === 4;
  view.setUint32(0, prefixKey.familyBits + length + (isV4 ? prefixKey.mappedBits : 0), true);
  view.setUint32(4, isV4 ? 4 : 6, true);
  new Uint8Array(view.buffer).set(mapped(address), prefixKey.addressOffset);
}

function writeInteger(view: DataView, offset: number, size: number, word: bigint): void {
  for (let i = 0, rest = word; i < size; i++, rest >>= 8n) view.setUint8(offset + i, Number(rest & 0xffn));
}

function encodeParams(slot: SetSlot, member: InputRecord, interfaceOf?: (name: string) => number): Uint8Array {
  const value = new Uint8Array(slot.valueSize);
  for (const field of slot.params) writeParam(value, field, member, interfaceOf);
  return value;
}

function writeParam(
  value: Uint8Array,
  { name, type, offset }: SetField,
  member: InputRecord,
  interfaceOf?: (name: string) => number,
): void {
  const word = readWord(type, member[name]!, name, interfaceOf);
  new DataView(value.buffer, value.byteOffset).setBigUint64(offset, word, true);
}

export function decodeMember(slot: SetSlot, { key, value }: EncodedMember): MemberRecord {
  const view = new DataView(key.buffer, key.byteOffset, key.byteLength);
  const words = new DataView(value.buffer, value.byteOffset, value.byteLength);
  return {
    ...Object.fromEntries(slot.key.map((field) => [field.name, showKeyField(slot, field, key, view)])),
    ...Object.fromEntries(
      slot.params.map(({ name, type, offset }) => [name, showWord(type, words.getBigUint64(offset, true))]),
    ),
  };
}

function showKeyField(slot: SetSlot, { type, offset }: SetField, key: Uint8Array, view: DataView): string {
  const { representation } = type;
  if (slot.kind === "prefixes") {
    const isV4 = view.getUint32(4, true) === 4;
    const length = view.getUint32(0, true) - prefixKey.familyBits - (isV4 ? prefixKey.mappedBits : 0);
    const text = formatIpAddress(key.subarray(prefixKey.addressOffset + (isV4 ? 12 : 0)));
    return length === (isV4 ? 32 : 128) ? text : `${text}/${length}`;
  }
  if (representation.kind !== "integer") return addressText(key.subarray(offset, offset + 16));
  let word = 0n;
  for (let i = integerSizes[representation.type] - 1; i >= 0; i--)
    word = (word << 8n) | BigInt(view.getUint8(offset + i));
  return showWord(type, word);
}
