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
  const [keys, values] = [new Rows(members.length, slot.keySize), new Rows(members.length, slot.valueSize)];
  const fields = [...slot.key, ...slot.params];
  members.forEach((member, i) => {
    describing(slot, member, i, doing, () => {
      checkFields(slot, member, fields);
      writeKey(slot, keys, i, member);
      for (const field of slot.params) writeParam(values, i, field, member, interfaceOf);
    });
    const key = keys.row(i);
    encoded.set(keyText(key), { key, value: values.row(i) });
  });
  return [...encoded.values()];
}

/**
 * The keys of members; parameters may be left out, but not be wrong.
 * @throws ParameterError that says which member is wrong, and why
 */
export function encodeKeys(slot: SetSlot, members: readonly InputRecord[], doing: string): Uint8Array[] {
  const keys = new Rows(members.length, slot.keySize);
  return members.map((member, i) => {
    describing(slot, member, i, doing, () => {
      checkFields(slot, member, slot.key);
      changeParams(slot, new Uint8Array(slot.valueSize), member);
      writeKey(slot, keys, i, member);
    });
    return keys.row(i);
  });
}

/** A value with some of its parameters changed. */
export function changeParams(slot: SetSlot, value: Uint8Array, member: InputRecord): Uint8Array {
  const changed = new Rows(1, slot.valueSize);
  const row = changed.row(0);
  row.set(value);
  for (const field of slot.params) if (member[field.name] !== undefined) writeParam(changed, 0, field, member);
  return row;
}

/** Many keys, or values, in one piece of memory: a buffer for each would cost more than all the rest. */
class Rows {
  readonly view: DataView;
  readonly #bytes: Uint8Array;
  readonly #size: number;
  constructor(count: number, size: number) {
    this.#bytes = new Uint8Array(count * size);
    this.view = new DataView(this.#bytes.buffer);
    this.#size = size;
  }

  offset(row: number): number {
    return row * this.#size;
  }

  row(row: number): Uint8Array {
    return this.#bytes.subarray(this.offset(row), this.offset(row + 1));
  }

  write(row: number, offset: number, bytes: Uint8Array): void {
    this.#bytes.set(bytes, this.offset(row) + offset);
  }
}

export function keyText(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1");
}

/** Which member of how many is wrong, in front of what is wrong with it. */
function describing(slot: SetSlot, member: InputRecord, index: number, doing: string, action: () => void): void {
  try {
    action();
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

function writeKey(slot: SetSlot, keys: Rows, row: number, member: InputRecord): void {
  for (const { name, type, offset } of slot.key) {
    const input = member[name]!;
    if (type.representation.kind === "integer") {
      writeInteger(keys.view, keys.offset(row) + offset, keyFieldSize(type), readWord(type, input, name));
      continue;
    }
    try {
      if (slot.kind === "prefixes") writePrefix(keys, row, String(input));
      else keys.write(row, offset, mapped(parseIpAddress(String(input))));
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      throw new ParameterError(`${name}: ${error.message}; it takes ${type.expects}`, { cause: error });
    }
  }
}

/** 16 bytes, IPv4 mapped (RFC 4291, section 2.5.5.2). */
function mapped(address: Uint8Array): Uint8Array {
  if (address.length === 16) return address;
  const bytes = new Uint8Array(16).fill(0xff, 10, 12);
  bytes.set(address, 12);
  return bytes;
}

function writePrefix(keys: Rows, row: number, text: string): void {
  const { address, length } = parseIpPrefix(text);
  const isV4 = address.length === 4;
  const at = keys.offset(row);
  keys.view.setUint32(at, prefixKey.familyBits + length + (isV4 ? prefixKey.mappedBits : 0), true);
  keys.view.setUint32(at + 4, isV4 ? 4 : 6, true);
  keys.write(row, prefixKey.addressOffset, mapped(address));
}

function writeInteger(view: DataView, offset: number, size: number, word: bigint): void {
  for (let i = 0, rest = word; i < size; i++, rest >>= 8n) view.setUint8(offset + i, Number(rest & 0xffn));
}

function writeParam(
  values: Rows,
  row: number,
  { name, type, offset }: SetField,
  member: InputRecord,
  interfaceOf?: (name: string) => number,
): void {
  values.view.setBigUint64(values.offset(row) + offset, readWord(type, member[name]!, name, interfaceOf), true);
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
