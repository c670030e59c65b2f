/**
 * The values a policy computes with, as TypeScript types for the editor and as descriptors for the chain and the compiler.
 * An integer type is `number` with a flavour: any number may be assigned, and the compiler checks widths itself.
 */

type Integer<Name extends string> = number & { readonly __integer?: Name };
export type u8 = Integer<"u8">;
export type u16 = Integer<"u16">;
export type u32 = Integer<"u32">;
export type u64 = Integer<"u64">;
export type i32 = Integer<"i32">;
export type i64 = Integer<"i64">;

export type IntegerName = "u8" | "u16" | "u32" | "u64" | "i32" | "i64";

/** Bytes of each integer type. */
export const integerSizes: Readonly<Record<IntegerName, 1 | 2 | 4 | 8>> = {
  u8: 1,
  u16: 2,
  u32: 4,
  u64: 8,
  i32: 4,
  i64: 8,
};

/** An IPv4 or IPv6 address; compare with `sameAddress`, match with `inPrefix`. */
export interface Address {
  readonly __address: never;
}

/** An address and a prefix length. */
export interface Prefix {
  readonly __prefix: never;
}

/** A parameter's descriptor: how a person writes it, how it lies in memory, what the policy sees. */
export interface ParameterType<T = unknown, Input = unknown> {
  readonly representation:
    | { readonly kind: "integer"; readonly type: IntegerName }
    | { readonly kind: "boolean" }
    | { readonly kind: "address" }
    | { readonly kind: "prefix" }
    | { readonly kind: "choice"; readonly choices: readonly string[] }
    | { readonly kind: "text"; readonly maximum: number };
  /** For messages: what is expected, e.g. `an integer from 0 to 65535`. */
  readonly expects: string;
  readonly minimum?: bigint;
  readonly maximum?: bigint;
  /** What an integer measures, where a person may write more than digits; see `readRate`. */
  readonly unit?: "bytesPerSecond" | "mac" | "interface" | "congestionControl";
  /** The value when a person gives none; without it the parameter must be given. */
  readonly fallback?: Input;
  /** Only for the type checker: what the policy sees, what a person gives. */
  readonly __value?: T;
  readonly __input?: Input;
}

function integer(type: IntegerName, minimum: bigint, maximum: bigint): ParameterType<number, number | bigint> {
  return {
    representation: { kind: "integer", type },
    expects: `an integer from ${minimum} to ${maximum}`,
    minimum,
    maximum,
  };
}

type IntegerDescriptor = ParameterType<number, number | bigint> & ((value: number | boolean) => number);

/** A descriptor that is a conversion inside a policy: `u16(x)` keeps the low 16 bits. Outside of one, calling it is an error. */
function convertible(type: IntegerName, minimum: bigint, maximum: bigint): IntegerDescriptor {
  const conversion = (): never => {
    throw new Error(`Cannot call ${type}() here: it is part of the policy language and only compiled`);
  };
  return Object.assign(conversion, integer(type, minimum, maximum));
}

export const u8: IntegerDescriptor = convertible("u8", 0n, 0xffn);
export const u16: IntegerDescriptor = convertible("u16", 0n, 0xffffn);
export const u32: IntegerDescriptor = convertible("u32", 0n, 0xffff_ffffn);
export const u64: IntegerDescriptor = convertible("u64", 0n, 0xffff_ffff_ffff_ffffn);
export const i32: IntegerDescriptor = convertible("i32", -0x8000_0000n, 0x7fff_ffffn);
export const i64: IntegerDescriptor = convertible("i64", -0x8000_0000_0000_0000n, 0x7fff_ffff_ffff_ffffn);

export const bool: ParameterType<boolean, boolean> = {
  representation: { kind: "boolean" },
  expects: "true or false",
};

/** `10.0.0.1` or `2001:db8::1`. */
export const address: ParameterType<Address, string> = {
  representation: { kind: "address" },
  expects: "an IPv4 or IPv6 address",
};

/** `10.0.0.0/8`, `2001:db8::/32`, or a single address. */
export const prefix: ParameterType<Prefix, string> = {
  representation: { kind: "prefix" },
  expects: "an IPv4 or IPv6 prefix such as 10.0.0.0/8",
};

/** One of several words; the policy compares it with string literals. */
export function choice<const Words extends readonly string[]>(
  ...words: Words
): ParameterType<Words[number], Words[number]> {
  return { representation: { kind: "choice", choices: words }, expects: `one of ${words.join(", ")}` };
}

/**
 * A name of letters, digits, _ and -, at most `maximum` of them: that of a congestion control, say (15). What takes names
 * takes it; the policy compares it with nothing.
 */
export function text(maximum: number): ParameterType<string, string> {
  if (!Number.isInteger(maximum) || maximum < 1 || maximum > 64)
    throw new RangeError(`Cannot declare text(${maximum}): a text has 1 to 64 characters at most`);
  return {
    representation: { kind: "text", maximum },
    expects: `a name of at most ${maximum} letters, digits, _ and -`,
  };
}

/** Narrows an integer parameter to [minimum, maximum]. */
export function within<T, Input>(
  type: ParameterType<T, Input>,
  minimum: number,
  maximum: number,
): ParameterType<T, Input> {
  return {
    ...describe(type),
    minimum: BigInt(minimum),
    maximum: BigInt(maximum),
    expects: `an integer from ${minimum} to ${maximum}`,
  };
}

/** Gives a parameter the value it has when a person gives none. */
export function fallback<T, Input>(type: ParameterType<T, Input>, value: Input): ParameterType<T, Input> {
  return { ...describe(type), fallback: value };
}

function describe<T, Input>(type: ParameterType<T, Input>): ParameterType<T, Input> {
  // Only the descriptor's own data: the integer descriptors are functions as well.
  return { ...type };
}

const rateUnits: readonly (readonly [RegExp, number])[] = [
  [/^gbit(\/s)?$|^gbps$/, 1e9],
  [/^mbit(\/s)?$|^mbps$/, 1e6],
  [/^kbit(\/s)?$|^kbps$/, 1e3],
  [/^bit(\/s)?$|^bps$/, 1],
];

/** Bytes per second of `"10mbit"`, `"2.5 Gbit/s"` or a number of bits per second; undefined when it is neither. */
export function readRate(input: unknown): bigint | undefined {
  if (typeof input === "number" || typeof input === "bigint")
    return Number.isFinite(Number(input)) ? BigInt(Math.round(Number(input) / 8)) : undefined;
  const match = typeof input === "string" && /^\s*(\d+(?:\.\d+)?)\s*([a-z/]*)\s*$/i.exec(input);
  if (!match) return undefined;
  const word = match[2].toLowerCase() || "bit";
  const unit = rateUnits.find(([pattern]) => pattern.test(word));
  return unit && BigInt(Math.round((Number(match[1]) * unit[1]) / 8));
}

/**
 * A data rate. A person writes `"10mbit"`, `"2.5 Gbit/s"` or a number of bits per second; the policy sees a u64 in bytes
 * per second.
 */
export const rate: ParameterType<number, string | number> = {
  representation: { kind: "integer", type: "u64" },
  expects: 'a rate from 8 kbit/s to 32 Gbit/s, such as "10mbit"',
  minimum: 1000n,
  maximum: 4_000_000_000n,
  unit: "bytesPerSecond",
};

/** An Ethernet address. A person writes `02:00:00:00:00:01`; the policy sees 48 bits, most significant byte first. */
export const mac: ParameterType<number, string> = {
  representation: { kind: "integer", type: "u64" },
  expects: "an Ethernet address such as 02:00:00:00:00:01",
  minimum: 0n,
  maximum: 0xffff_ffff_ffffn,
  unit: "mac",
};

/** A network interface. A person writes its name, or its index; the policy sees the index. */
export const networkInterface: ParameterType<number, string | number> = {
  representation: { kind: "integer", type: "u32" },
  expects: "the name of an interface, such as eth0",
  minimum: 1n,
  maximum: 0x7fff_ffffn,
  unit: "interface",
};

/** The name of congestion control that sockets are given. A chain that names one which is not registered is refused. */
export const congestionControlName: ParameterType<string, string> = { ...text(15), unit: "congestionControl" };

/** What the policy sees of parameters described by `P`. */
export type Values<P> = { readonly [K in keyof P]: P[K] extends ParameterType<infer T, infer _> ? T : never };
/** What a person gives for parameters described by `P`. */
export type Inputs<P> = { readonly [K in keyof P]?: P[K] extends ParameterType<infer _, infer I> ? I : never };
