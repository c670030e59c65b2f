/** `struct sockaddr_in` and `sockaddr_in6`, and IP addresses as text. */
import { formatIpAddress, parseIpAddress } from "../wire/ip.ts";

export const AF_INET = 2;
export const AF_INET6 = 10;

export type SocketAddress = { readonly address: string; readonly port: number };

/** 4 or 16 bytes, without the zone. @throws RangeError when it is not an IP address. */
export function addressBytes(address: string): Uint8Array {
  const zone = address.includes(":") ? address.indexOf("%") : -1;
  try {
    return parseIpAddress(zone < 0 ? address : address.slice(0, zone));
  } catch (cause) {
    throw new RangeError(`Cannot use address ${address}: not an IP address`, { cause });
  }
}

/** The address family of an address in text. @throws RangeError when it is not an IP address. */
export function familyOf(address: string): typeof AF_INET | typeof AF_INET6 {
  return addressBytes(address).length === 4 ? AF_INET : AF_INET6;
}

const mappedPrefix = parseIpAddress("::ffff:0.0.0.0").subarray(0, 12);

/** An address of 4 or 16 bytes as text; IPv6 in the short form of RFC 5952, IPv4-mapped ones as IPv4. */
export function addressText(bytes: Uint8Array): string {
  const mapped = bytes.length === 16 && mappedPrefix.every((byte, i) => bytes[i] === byte);
  return formatIpAddress(mapped ? bytes.subarray(12) : bytes);
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
