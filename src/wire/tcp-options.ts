/** The options of the TCP header: a list that always emits to the bytes it was parsed from. */
import { concatBytes, copyBytes } from "./bytes.ts";
import { WireError } from "./errors.ts";
import { type FieldSpec, type Layout, layout } from "./layout.ts";
import { emitMptcpOption, mptcpOptionKind, parseMptcpOption } from "./mptcp/codec.ts";
import { mptcpForms } from "./mptcp/forms.ts";
import type { MptcpOption, MptcpVersion } from "./mptcp/options.ts";

/** Options that RFC 9293, 7323 and 2018 define, MPTCP's, and two that keep what could not be read. */
export type TcpOption =
  /** EOL. What follows is padding, by rule zeros; left out where nothing follows. */
  | { readonly kind: "endOfList"; readonly padding?: Uint8Array }
  | { readonly kind: "nop" }
  | { readonly kind: "maximumSegmentSize"; readonly bytes: number }
  | { readonly kind: "windowScale"; readonly shift: number }
  | { readonly kind: "sackPermitted" }
  /** One to four blocks; `right` is the first number after the block. */
  | { readonly kind: "sack"; readonly blocks: readonly { readonly left: number; readonly right: number }[] }
  | { readonly kind: "timestamps"; readonly value: number; readonly echoReply: number }
  | MptcpOption
  /** A kind not in this list, whole: kind, length and data. */
  | { readonly kind: "unknown"; readonly bytes: Uint8Array }
  /**
   * Bytes that break the rules. With a broken length there is no next option: `bytes` then runs to the end of the
   * options. Otherwise it is one option whose length is wrong for its kind.
   */
  | { readonly kind: "malformed"; readonly reason: string; readonly bytes: Uint8Array };

export type TcpOptionKind = TcpOption["kind"];

const endOfListCode = 0;
const nopCode = 1;
const sackCode = 5;
const sackBlock = layout("TCP option", { left: 32, right: 32 });
/** A header holds at most 15 words, five of which are its fixed part. */
export const maxTcpOptionsLength = 40;

/** Options of fixed length. */
const fixedOptions: readonly {
  readonly kind: TcpOptionKind;
  readonly code: number;
  readonly layout: Layout<Record<string, FieldSpec>>;
}[] = [
  { kind: "maximumSegmentSize", code: 2, layout: layout("TCP option", { bytes: 16 }) },
  { kind: "windowScale", code: 3, layout: layout("TCP option", { shift: 8 }) },
  { kind: "sackPermitted", code: 4, layout: layout("TCP option", {}) },
  { kind: "timestamps", code: 8, layout: layout("TCP option", { value: 32, echoReply: 32 }) },
];
const byCode = new Map(fixedOptions.map((option) => [option.code, option]));
const byKind = new Map<TcpOptionKind, (typeof fixedOptions)[number]>(
  fixedOptions.map((option) => [option.kind, option]),
);

export interface TcpOptionContext {
  /** The MPTCP version of the connection, where it is known: forms of the other version are then malformed. */
  readonly mptcpVersion?: MptcpVersion;
}

/** Parses one whole option with a plausible length; a string is the reason why it is malformed. */
function parseBody(bytes: Uint8Array, code: number, context: TcpOptionContext): TcpOption | string {
  if (code === mptcpOptionKind) return parseMptcpOption(bytes, context.mptcpVersion);
  if (code === sackCode) {
    const count = (bytes.length - 2) / 8;
    if (!Number.isInteger(count) || count < 1) return `a sack option of ${bytes.length} bytes holds no whole blocks`;
    return { kind: "sack", blocks: Array.from({ length: count }, (_, index) => sackBlock.read(bytes, 2 + index * 8)) };
  }
  const option = byCode.get(code);
  if (option === undefined) return { kind: "unknown", bytes: copyBytes(bytes) };
  const expected = option.layout.size + 2;
  if (bytes.length !== expected) return `${option.kind} takes ${expected} bytes, not ${bytes.length}`;
  return { kind: option.kind, ...option.layout.read(bytes, 2) } as unknown as TcpOption;
}

/** Parses the options of a header. Never throws: what breaks the rules becomes a `malformed` option. */
export function parseTcpOptions(bytes: Uint8Array, context: TcpOptionContext = {}): TcpOption[] {
  const options: TcpOption[] = [];
  let offset = 0;
  while (offset < bytes.length) {
    const code = bytes[offset] ?? endOfListCode;
    if (code === endOfListCode) {
      const padding = copyBytes(bytes, offset + 1);
      options.push(padding.length === 0 ? { kind: "endOfList" } : { kind: "endOfList", padding });
      break;
    }
    if (code === nopCode) {
      options.push({ kind: "nop" });
      offset++;
      continue;
    }
    const length = bytes[offset + 1];
    const left = bytes.length - offset;
    if (length === undefined || length < 2 || length > left) {
      const reason =
        length === undefined
          ? `option ${code} has no length`
          : `option ${code} says ${length} bytes where 2 to ${left} are possible`;
      options.push({ kind: "malformed", reason, bytes: copyBytes(bytes, offset) });
      break;
    }
    const whole = bytes.subarray(offset, offset + length);
    const option = parseBody(whole, code, context);
    options.push(typeof option === "string" ? { kind: "malformed", reason: option, bytes: copyBytes(whole) } : option);
    offset += length;
  }
  return options;
}

/** Emits one option as it stands on the wire. Throws {@link WireError} when a value does not fit its field. */
export function emitTcpOption(option: TcpOption): Uint8Array {
  switch (option.kind) {
    case "endOfList":
      return concatBytes([Uint8Array.of(endOfListCode), option.padding ?? new Uint8Array(0)]);
    case "nop":
      return Uint8Array.of(nopCode);
    case "unknown":
    case "malformed":
      return option.bytes;
    case "sack": {
      const blocks = concatBytes(option.blocks.map((block) => sackBlock.write(block)));
      return concatBytes([Uint8Array.of(sackCode, blocks.length + 2), blocks]);
    }
    case "maximumSegmentSize":
    case "windowScale":
    case "sackPermitted":
    case "timestamps": {
      const table = byKind.get(option.kind);
      if (table === undefined) throw new WireError("emit", "TCP option", 0, `${option.kind} is not in the table`);
      const { code, layout } = table;
      const body = layout.write(option as unknown as Parameters<typeof layout.write>[0]);
      return concatBytes([Uint8Array.of(code, body.length + 2), body]);
    }
    default:
      return emitMptcpOption(option);
  }
}

/**
 * Emits options, filled up with zeros (an end of list) to whole words. Throws {@link WireError} when they take more than
 * the 40 bytes a header has.
 */
export function emitTcpOptions(options: readonly TcpOption[]): Uint8Array {
  const bytes = concatBytes(options.map(emitTcpOption));
  if (bytes.length > maxTcpOptionsLength)
    throw new WireError("emit", "TCP option", maxTcpOptionsLength, `${bytes.length} bytes of options, 40 are possible`);
  return concatBytes([bytes, new Uint8Array(-bytes.length & 3)]);
}

const mptcpKinds = new Set<TcpOptionKind>([...mptcpForms.map(({ kind }) => kind), "mptcpUnknown"]);

/** Whether this is one of MPTCP's options. */
export function isMptcpOption(option: TcpOption): option is MptcpOption {
  return mptcpKinds.has(option.kind);
}
