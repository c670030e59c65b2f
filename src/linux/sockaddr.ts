/** `struct sockaddr_in` and `sockaddr_in6`, and IP addresses as text. */
import { isIPv4, isIPv6 } from "node:net";

export const AF_INET = 2;
export const AF_INET6 = 10;

export type SocketAddress = { readonly address: string; readonly port: number };

/** The address family of an address in text. @throws RangeError when it is not an IP address. */
export function familyOf(address: string): typeof AF_INET | typeof AF_INET6 {
  if (isIPv4(address)) return AF_INET;
  if (isIPv6(address)) return AF_INET6;
  throw new RangeError(`Cannot use address ${address}: not an IP address`);
}

/** 4 or 16 bytes. @throws RangeError when it is not an IP address. */
export function addressBytes(address: string): Uint8Array {
  if (isIPv4(address)) return Uint8Array.from(address.split("."), Number);
  if (!isIPv6(address)) throw new RangeError(`Cannot use address ${address}: not an IP address`);
  const plain = address.split("%")[0].replace(/\d+\.\d+\.\d+\.\d+$/, (v4) => {
    const [a, b, c, d] = v4.split(".").map(Number) as [number, number, number, number];
    return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  });
  const [head = "", tail] = plain.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const groups = [...left, ...Array<string>(8 - left.length - right.length).fill("0"), ...right];
  return Uint8Array.from(groups.flatMap((group) => [parseInt(group, 16) >> 8, parseInt(group, 16) & 0xff]));
}

/** An address of 4 or 16 bytes as text; IPv6 in the short form of RFC 5952, IPv4-mapped ones as IPv4. */
export function addressText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups = Array.from({ length: 8 }, (_, i) => (bytes[2 * i] << 8) | bytes[2 * i + 1]);
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) return bytes.subarray(12).join(".");
  let best = { start: -1, length: 1 };
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  if (best.start < 0) return hexadecimal(groups);
  return `${hexadecimal(groups.slice(0, best.start))}::${hexadecimal(groups.slice(best.start + best.length))}`;
}

function hexadecimal(groups: number[]): string {
  return groups.map((group) => group.toString(16)).join(":");
}

export function encodeSockaddr({ address, port }: SocketAddress): Uint8Array {
  const family = familyOf(address);
  const bytes = new Uint8Array(family === AF_INET ? 16 : 28);
  const data = new DataView(bytes.buffer);
  data.setUint16(0, family, true);
  data.setUint16(2, port);
  bytes.set(addressBytes(address), family === AF_INET ? 4 : 8);
  return bytes;
}

/** @throws RangeError on a family that is not IP. */
export function decodeSockaddr(bytes: Uint8Array): SocketAddress {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const family = data.getUint16(0, true);
  if (family !== AF_INET && family !== AF_INET6) throw new RangeError(`Cannot read socket address: family ${family}`);
  const at = family === AF_INET ? 4 : 8;
  return { address: addressText(bytes.subarray(at, at + (family === AF_INET ? 4 : 16))), port: data.getUint16(2) };
}
