/** Parameters as a person gives them, checked against what a policy declares. */
import { integerSizes, readRate, type ParameterType, type Policy } from "../policy/index.ts";
import type { ConstantValue } from "../compiler/index.ts";
import { interfaceIndex } from "../linux/interfaces.ts";
import { WireError } from "../wire/errors.ts";
import { formatMacAddress, parseIpAddress, parseIpPrefix, parseMacAddress } from "../wire/ip.ts";

export type Input = number | bigint | boolean | string;
export type InputRecord = Readonly<Record<string, Input | undefined>>;

/** A parameter that is missing, unknown, of the wrong type or out of range. */
export class ParameterError extends RangeError {
  override readonly name = "ParameterError";
}

/** What parameters of a policy are needed and given: every one named, none unknown. */
export function checkNames(policy: Policy, inputs: InputRecord): void {
  const declared = Object.keys(policy.params);
  const unknown = Object.keys(inputs).filter((name) => !declared.includes(name));
  if (unknown.length > 0) {
    const has = declared.length > 0 ? `its parameters are ${declared.join(", ")}` : "it has no parameters";
    throw new ParameterError(`Cannot use ${policy.name}: it has no parameter ${unknown.join(", ")}; ${has}`);
  }
}

/** Each declared parameter's input, or its fallback, but for those `omitted`. @throws ParameterError */
export function completeInputs(
  policy: Policy,
  inputs: InputRecord,
  omitted: ReadonlySet<string> = new Set(),
): [name: string, type: ParameterType, input: Input][] {
  checkNames(policy, inputs);
  const wanted = Object.entries(policy.params).filter(([name]) => !omitted.has(name));
  return wanted.map(([name, type]) => {
    const input = inputs[name] ?? (type.fallback as Input | undefined);
    if (input === undefined)
      throw new ParameterError(`Cannot use ${policy.name}: its parameter ${name} is missing; give ${type.expects}`);
    return [name, type, input];
  });
}

/**
 * A live parameter as the 64-bit word in the parameters map; a text as the number that its bytes are, little-endian. `where` is for messages: `rate_limit.rate`. Interfaces are
 * those of the current network namespace, unless `interfaceOf` says otherwise.
 */
export function readWord(
  type: ParameterType,
  input: Input,
  where: string,
  interfaceOf: (name: string) => number = interfaceIndex,
): bigint {
  const wrong = (): never => {
    throw new ParameterError(`Cannot set ${where} to ${JSON.stringify(String(input))}: it takes ${type.expects}`);
  };
  const { representation } = type;
  switch (representation.kind) {
    case "integer": {
      const value = readNumber(type.unit, input, interfaceOf);
      if (value === undefined || value < type.minimum! || value > type.maximum!) return wrong();
      return BigInt.asUintN(8 * integerSizes[representation.type], value);
    }
    case "boolean":
      if (input === true || input === "true") return 1n;
      return input === false || input === "false" ? 0n : wrong();
    case "choice": {
      const index = representation.choices.indexOf(String(input));
      return index < 0 ? wrong() : BigInt(index);
    }
    case "text": {
      const text = String(input);
      return /^[A-Za-z0-9_-]+$/.test(text) && text.length <= representation.maximum ? textWord(text) : wrong();
    }
    default:
      throw new ParameterError(`Cannot set ${where}: actors take no addresses, select them with a selector`);
  }
}

function textWord(text: string): bigint {
  return Buffer.from(text, "latin1").reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
}

function wordText(word: bigint): string {
  let text = "";
  for (let rest = word; rest > 0n; rest >>= 8n) text += String.fromCharCode(Number(rest & 0xffn));
  return text;
}

function readNumber(
  unit: ParameterType["unit"],
  input: Input,
  interfaceOf: (name: string) => number,
): bigint | undefined {
  switch (unit) {
    case "bytesPerSecond":
      return readRate(input);
    case "mac":
      return readMac(input);
    case "interface":
      return readInteger(input) ?? BigInt(interfaceOf(String(input)));
    default:
      return readInteger(input);
  }
}

function readMac(input: Input): bigint | undefined {
  try {
    return parseMacAddress(String(input)).reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  } catch (error) {
    if (error instanceof WireError) return undefined;
    throw error;
  }
}

function readInteger(input: Input): bigint | undefined {
  if (typeof input === "bigint") return input;
  if (typeof input === "number") return Number.isInteger(input) ? BigInt(input) : undefined;
  return typeof input === "string" && /^-?(\d+|0x[0-9a-f]+)$/i.test(input) ? BigInt(input) : undefined;
}

/** A word of the parameters map as a person would write it. */
export function showWord(type: Pick<ParameterType, "representation" | "unit">, word: bigint): string {
  const { representation } = type;
  switch (representation.kind) {
    case "boolean":
      return word === 0n ? "false" : "true";
    case "choice":
      return representation.choices[Number(word)] ?? String(word);
    case "text":
      return wordText(word);
    case "integer": {
      if (type.unit === "bytesPerSecond") return `${Number(((Number(word) * 8) / 1e6).toPrecision(6))}mbit`;
      if (type.unit === "mac")
        return formatMacAddress(Uint8Array.from({ length: 6 }, (_, i) => Number((word >> BigInt(40 - 8 * i)) & 0xffn)));
      const bits = 8 * integerSizes[representation.type];
      return String(representation.type.startsWith("i") ? BigInt.asIntN(bits, word) : word);
    }
    default:
      return String(word);
  }
}

/** A selector's parameter as a constant of the compiled chain. */
export function readConstant(type: ParameterType, input: Input, where: string): ConstantValue {
  const { representation } = type;
  if (representation.kind === "address" || representation.kind === "prefix") {
    try {
      if (representation.kind === "address") {
        const bytes = parseIpAddress(String(input));
        return { family: bytes.length === 4 ? 4 : 6, bytes, length: bytes.length * 8, isAddress: true };
      }
      const { address, length } = parseIpPrefix(String(input));
      return { family: address.length === 4 ? 4 : 6, bytes: address, length };
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      throw new ParameterError(`Cannot set ${where}: ${error.message}; it takes ${type.expects}`, { cause: error });
    }
  }
  const word = readWord(type, input, where);
  if (representation.kind === "text") return wordText(word);
  if (representation.kind === "choice") return representation.choices[Number(word)];
  if (representation.kind === "boolean") return word !== 0n;
  const bits = 8 * integerSizes[representation.type];
  return representation.type.startsWith("i") ? BigInt.asIntN(bits, word) : word;
}
