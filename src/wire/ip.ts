/** IP and MAC addresses as text: parsed and formatted. As values they are byte arrays (4, 16 and 6 bytes). */
import { WireError } from "./errors.ts";

/** A range of addresses: those that share the first `length` bits with `address`. */
export interface IpPrefix {
  /** 4 or 16 bytes; the bits after the prefix are zero. */
  readonly address: Uint8Array;
  readonly length: number;
}

const fail = (text: string, at: number, reason: string): never => {
  throw new WireError("parse", "IP address", at, `"${text}" ${reason}`);
};

/** By hand: whoever reacts to events parses addresses when everything is cold, and then a regular expression takes 20 µs. */
function parseIpv4Address(text: string): Uint8Array {
  const bytes = new Uint8Array(4);
  let count = 0;
  let wrong = -1;
  for (let at = 0; at <= text.length; count++) {
    const start = at;
    let value = 0;
    for (; at < text.length && at - start < 3; at++) {
      const digit = text.charCodeAt(at) - 48;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
    }
    // No leading zeros: some readers take them for octal.
    const isNumber = at > start && (text[start] !== "0" || at === start + 1);
    const isEnd = count === 3 ? at === text.length : text[at] === ".";
    if (!isNumber || !isEnd) fail(text, 0, "is not four decimal numbers");
    if (value > 255 && wrong === -1) wrong = start;
    bytes[count] = value;
    at++;
  }
  if (wrong !== -1) fail(text, wrong, "has a number above 255");
  return bytes;
}

function parseGroups(whole: string, text: string): number[] {
  if (text === "") return [];
  return text.split(":").flatMap((group, index, groups) => {
    // Dotted decimal may only stand at the very end.
    if (index === groups.length - 1 && group.includes(".") && whole.endsWith(text)) return [...parseIpv4Address(group)];
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) fail(whole, Math.max(0, whole.indexOf(group)), `has the group "${group}"`);
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}

/** Parses an IPv4 address in dotted decimal or an IPv6 address (RFC 4291 §2.2). Throws {@link WireError}. */
export function parseIpAddress(text: string): Uint8Array {
  if (!text.includes(":")) return parseIpv4Address(text);
  const halves = text.split("::");
  if (halves.length > 2) fail(text, text.lastIndexOf("::"), 'has "::" more than once');
  const [left = [], right] = halves.map((half) => parseGroups(text, half));
  const given = left.length + (right?.length ?? 0);
  if (right === undefined ? given !== 16 : given > 14) fail(text, 0, "does not have the length of an address");
  const bytes = new Uint8Array(16);
  bytes.set(left, 0);
  if (right !== undefined) bytes.set(right, 16 - right.length);
  return bytes;
}

function formatGroups(groups: readonly number[]): string {
  return groups.map((group) => group.toString(16)).join(":");
}

/** Formats 4 bytes as dotted decimal, 16 bytes as RFC 5952 says: lower case, the longest run of zero groups as "::". */
export function formatIpAddress(address: Uint8Array): string {
  if (address.length === 4) return `${address[0]}.${address[1]}.${address[2]}.${address[3]}`;
  if (address.length !== 16)
    throw new WireError("emit", "IP address", 0, `${address.length} bytes are neither 4 nor 16`);
  const groups = Array.from(
    { length: 8 },
    (_, index) => ((address[index * 2] ?? 0) << 8) | (address[index * 2 + 1] ?? 0),
  );
  let best = { start: 0, length: 1 };
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  const mapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff;
  if (mapped) return `::ffff:${address.slice(12).join(".")}`;
  if (best.length < 2) return formatGroups(groups);
  return `${formatGroups(groups.slice(0, best.start))}::${formatGroups(groups.slice(best.start + best.length))}`;
}

/**
 * Parses "10.0.0.0/8", "2001:db8::/32", or an address alone, which is a prefix of its full length. Bits after the prefix
 * must be zero, so that a mistyped length does not go unseen. Throws {@link WireError}.
 */
export function parseIpPrefix(text: string): IpPrefix {
  const slash = text.indexOf("/");
  const address = parseIpAddress(slash === -1 ? text : text.slice(0, slash));
  const digits = slash === -1 ? String(address.length * 8) : text.slice(slash + 1);
  const length = Number(digits);
  const refuse = (reason: string): never => {
    throw new WireError("parse", "IP prefix", slash + 1, `"${text}" ${reason}`);
  };
  if (!/^\d{1,3}$/.test(digits) || length > address.length * 8)
    refuse(`needs a length from 0 to ${address.length * 8}`);
  const prefix = { address: maskAddress(address, length), length };
  if (prefix.address.some((byte, index) => byte !== address[index]))
    refuse(`has bits set after the first ${length}; the prefix is ${formatIpPrefix(prefix)}`);
  return prefix;
}

export function formatIpPrefix(prefix: IpPrefix): string {
  return `${formatIpAddress(prefix.address)}/${prefix.length}`;
}

/** The address with all bits after the first `length` set to zero. */
export function maskAddress(address: Uint8Array, length: number): Uint8Array {
  return Uint8Array.from(address, (byte, index) => {
    const bits = Math.min(8, Math.max(0, length - index * 8));
    return byte & (0xff00 >> bits) & 0xff;
  });
}

/** Whether the address lies in the prefix; never, where one is IPv4 and the other IPv6. */
export function prefixContains(prefix: IpPrefix, address: Uint8Array): boolean {
  if (address.length !== prefix.address.length) return false;
  return maskAddress(address, prefix.length).every((byte, index) => byte === prefix.address[index]);
}

/** Parses six bytes in hexadecimal with colons between them. Throws {@link WireError}. */
export function parseMacAddress(text: string): Uint8Array {
  if (!/^[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}$/.test(text))
    throw new WireError("parse", "MAC address", 0, `"${text}" is not six bytes in hexadecimal`);
  return Uint8Array.from(text.split(":"), (byte) => Number.parseInt(byte, 16));
}

export function formatMacAddress(address: Uint8Array): string {
  return Array.from(address, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}
