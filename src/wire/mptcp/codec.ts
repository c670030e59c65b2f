/** Bytes to MPTCP option and back, driven by the table of forms. */
import { copyBytes } from "../bytes.ts";
import { WireError } from "../errors.ts";
import { type MptcpForm, mptcpForms } from "./forms.ts";
import { type MptcpKnownOption, type MptcpOption, MptcpSubtype, type MptcpVersion } from "./options.ts";

/** TCP option kind of every MPTCP option. */
export const mptcpOptionKind = 30;

const subtypeNames = new Map<number, string>(Object.entries(MptcpSubtype).map(([name, subtype]) => [subtype, name]));

const index = <K>(keyOf: (form: MptcpForm) => K): ReadonlyMap<K, readonly MptcpForm[]> => {
  const map = new Map<K, MptcpForm[]>();
  for (const form of mptcpForms) map.set(keyOf(form), [...(map.get(keyOf(form)) ?? []), form]);
  return map;
};
const bySubtype = index((form) => form.subtype);
const byKind = index((form) => form.kind);

/**
 * Parses one option of kind 30; `bytes` is the whole option and its second byte its length. With `version` given, forms
 * that only the other version has are refused; without, whatever form fits is taken (no bytes fit forms of both).
 * Returns the reason, a string, when a known subtype has no such form.
 */
export function parseMptcpOption(bytes: Uint8Array, version?: MptcpVersion): MptcpOption | string {
  const third = bytes[2];
  if (third === undefined) return "an MPTCP option has no subtype";
  const subtype = third >> 4;
  const name = subtypeNames.get(subtype);
  if (name === undefined) return { kind: "mptcpUnknown", bytes: copyBytes(bytes) };
  for (const form of bySubtype.get(subtype) ?? []) {
    if (form.layout.size !== bytes.length - 2 || !form.layout.matches(bytes, 2)) continue;
    if (version !== undefined && form.version !== undefined && form.version !== version) continue;
    return { kind: form.kind, ...form.implied, ...form.layout.read(bytes, 2) } as unknown as MptcpKnownOption;
  }
  const capableVersion = third & 15;
  if (subtype === MptcpSubtype.MP_CAPABLE && capableVersion > 1)
    return { kind: "mptcpUnknown", bytes: copyBytes(bytes) };
  const context = version === undefined ? "" : ` in version ${version}`;
  return `${name} has no form of ${bytes.length} bytes that starts with 0x${third.toString(16).padStart(2, "0")}${context}`;
}

/** Emits one option, kind and length included. Throws {@link WireError} for a combination of fields that has no form. */
export function emitMptcpOption(option: MptcpOption): Uint8Array {
  if (option.kind === "mptcpUnknown") return option.bytes;
  const fields = option as unknown as Readonly<Record<string, unknown>>;
  const given = Object.keys(fields).filter(
    (name) => name !== "kind" && name !== "reserved" && fields[name] !== undefined,
  );
  const form = (byKind.get(option.kind) ?? []).find(({ implied, layout }) => {
    const names = [...layout.names, ...Object.keys(implied)];
    return (
      names.length === given.length &&
      names.every((name) => given.includes(name)) &&
      Object.entries(implied).every(([name, value]) => fields[name] === value) &&
      layout.fits(fields)
    );
  });
  if (form === undefined)
    throw new WireError("emit", "MPTCP option", 0, `${option.kind} has no form with ${given.join(", ")}`);
  const body = form.layout.write(fields as unknown as Parameters<typeof form.layout.write>[0]);
  const bytes = new Uint8Array(body.length + 2);
  bytes[0] = mptcpOptionKind;
  bytes[1] = bytes.length;
  bytes.set(body, 2);
  return bytes;
}
