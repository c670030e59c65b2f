/** A header as a table: the fields in the order of the wire, from which the codec and the type derive. */
import { copyBytes, readBits, readU64, writeBits, writeU64 } from "./bytes.ts";
import { WireError, type WireLayer } from "./errors.ts";

/**
 * One field: a number of bits (a `number`, at most 32), a one-bit `boolean`, a 64-bit `bigint`, a run of bytes, bits
 * that should be zero (kept, so that nothing is lost, as one `reserved` number for the whole header, and only when one
 * of them is set), or bits with one possible value, which tell this header from others and do not appear in the result.
 */
export type FieldSpec =
  | number
  | "flag"
  | "u64"
  | { readonly bytes: number }
  | { readonly reserved: number }
  | { readonly fixed: number; readonly value: number };

type FieldSpecs = Readonly<Record<string, FieldSpec>>;
type ValueOf<S> = S extends number ? number : S extends "flag" ? boolean : S extends "u64" ? bigint : Uint8Array;
type HiddenKeys<T> = { [K in keyof T]: T[K] extends { reserved: number } | { fixed: number } ? K : never }[keyof T];

/** The values of a header with these fields. */
export type FieldsOf<T extends FieldSpecs> = { readonly [K in Exclude<keyof T, HiddenKeys<T>>]: ValueOf<T[K]> } & {
  readonly reserved?: number;
};

type Value = number | boolean | bigint | Uint8Array;

export interface Layout<T extends FieldSpecs> {
  /** Length in bytes. */
  readonly size: number;
  readonly specs: T;
  /** The names that appear in the result, without `reserved`. */
  readonly names: readonly string[];
  /** Whether every fixed field has its value. The caller has checked that `size` bytes are there. */
  matches(bytes: Uint8Array, offset: number): boolean;
  /** Reads the fields. The caller has checked that `size` bytes are there. */
  read(bytes: Uint8Array, offset: number): FieldsOf<T>;
  /** Writes the fields into new bytes. Throws {@link WireError} when a value does not fit its field. */
  write(fields: FieldsOf<T>): Uint8Array;
  /** Whether `write` would accept the byte runs in `fields` for their length. */
  fits(fields: Readonly<Record<string, unknown>>): boolean;
}

function widthOf(spec: FieldSpec): number {
  if (typeof spec === "number") return spec;
  if (spec === "flag") return 1;
  if (spec === "u64") return 64;
  if ("bytes" in spec) return spec.bytes * 8;
  return "reserved" in spec ? spec.reserved : spec.fixed;
}

const isHidden = (spec: FieldSpec): boolean => typeof spec === "object" && ("reserved" in spec || "fixed" in spec);

/** Makes the codec of a header. Wide fields (`u64`, bytes) start at byte boundaries; the whole is a number of bytes. */
export function layout<const T extends FieldSpecs>(layer: WireLayer, specs: T): Layout<T> {
  let bits = 0;
  const fields = Object.entries<FieldSpec>(specs).map(([name, spec]) => {
    const field = { name, spec, bit: bits, width: widthOf(spec) };
    bits += field.width;
    return field;
  });
  const size = bits / 8;
  const reservedWidth = fields.reduce(
    (sum, { spec, width }) => sum + (typeof spec === "object" && "reserved" in spec ? width : 0),
    0,
  );

  const checked = (name: string, bit: number, value: unknown, width: number): number => {
    if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value < 2 ** width) return value;
    const limit = 2 ** width - 1;
    throw new WireError("emit", layer, bit >> 3, `${name} is ${String(value)}, not an integer from 0 to ${limit}`);
  };

  return {
    size,
    specs,
    names: fields.filter(({ spec }) => !isHidden(spec)).map(({ name }) => name),

    matches(bytes, offset) {
      return fields.every(
        ({ spec, bit, width }) =>
          typeof spec !== "object" || !("fixed" in spec) || readBits(bytes, offset * 8 + bit, width) === spec.value,
      );
    },

    read(bytes, offset) {
      const values: Record<string, Value> = {};
      let reserved = 0;
      for (const { name, spec, bit, width } of fields) {
        const at = offset * 8 + bit;
        if (typeof spec === "number") values[name] = readBits(bytes, at, width);
        else if (spec === "flag") values[name] = readBits(bytes, at, 1) === 1;
        else if (spec === "u64") values[name] = readU64(bytes, at / 8);
        else if ("bytes" in spec) values[name] = copyBytes(bytes, at / 8, at / 8 + spec.bytes);
        else if ("reserved" in spec) reserved = reserved * 2 ** width + readBits(bytes, at, width);
      }
      if (reserved !== 0) values.reserved = reserved;
      return values as FieldsOf<T>;
    },

    write(given) {
      const values = given as Readonly<Record<string, Value | undefined>>;
      const bytes = new Uint8Array(size);
      let reserved = checked("reserved", 0, values.reserved ?? 0, reservedWidth);
      let reservedLeft = reservedWidth;
      for (const { name, spec, bit, width } of fields) {
        const value = values[name];
        if (typeof spec === "number") writeBits(bytes, bit, width, checked(name, bit, value, width));
        else if (spec === "flag") writeBits(bytes, bit, 1, value === true ? 1 : 0);
        else if (spec === "u64") {
          if (typeof value !== "bigint" || BigInt.asUintN(64, value) !== value)
            throw new WireError("emit", layer, bit >> 3, `${name} is ${String(value)}, not a bigint of 64 bits`);
          writeU64(bytes, bit / 8, value);
        } else if ("bytes" in spec) {
          if (!(value instanceof Uint8Array) || value.length !== spec.bytes)
            throw new WireError("emit", layer, bit >> 3, `${name} must be ${spec.bytes} bytes`);
          bytes.set(value, bit / 8);
        } else if ("reserved" in spec) {
          reservedLeft -= width;
          writeBits(bytes, bit, width, Math.floor(reserved / 2 ** reservedLeft));
          reserved %= 2 ** reservedLeft;
        } else writeBits(bytes, bit, width, spec.value);
      }
      return bytes;
    },

    fits(values) {
      return fields.every(({ name, spec }) => {
        if (typeof spec !== "object" || !("bytes" in spec)) return true;
        const value = values[name];
        return value instanceof Uint8Array && value.length === spec.bytes;
      });
    },
  };
}
