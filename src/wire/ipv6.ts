/** The IPv6 header and its extension headers (RFC 8200). */
import { concatBytes, copyBytes } from "./bytes.ts";
import { WireError } from "./errors.ts";
import { layout } from "./layout.ts";

/**
 * Header numbers (as in "next header") that are walked over: those that Linux, too, looks for a transport header behind
 * (`ipv6_skip_exthdr` in net/ipv6/exthdrs_core.c).
 */
export const Ipv6ExtensionProtocol = {
  hopByHop: 0,
  routing: 43,
  fragment: 44,
  authentication: 51,
  destination: 60,
} as const;

export type Ipv6Extension =
  | {
      readonly kind: "fragment";
      readonly reserved?: number;
      /** In units of eight bytes, as on the wire. */
      readonly fragmentOffset: number;
      readonly moreFragments: boolean;
      readonly identification: number;
    }
  | {
      readonly kind: "other";
      /** One of {@link Ipv6ExtensionProtocol}, without `fragment`. */
      readonly protocol: number;
      /** What follows the next header and length bytes; fills whole units (eight bytes; four for authentication). */
      readonly data: Uint8Array;
    };

export interface Ipv6 {
  readonly version: 6;
  readonly trafficClass: number;
  readonly flowLabel: number;
  readonly hopLimit: number;
  /** Sixteen bytes. */
  readonly source: Uint8Array;
  /** Sixteen bytes. */
  readonly destination: Uint8Array;
  /** In order of the wire. */
  readonly extensions: readonly Ipv6Extension[];
  /** What follows the extension headers; of a fragment, what its first fragment starts with. */
  readonly protocol: number;
}

const header = layout("IPv6", {
  version: 4,
  trafficClass: 8,
  flowLabel: 20,
  payloadLength: 16,
  nextHeader: 8,
  hopLimit: 8,
  source: { bytes: 16 },
  destination: { bytes: 16 },
});
const fragment = layout("IPv6", {
  nextHeader: 8,
  reserved1: { reserved: 8 },
  fragmentOffset: 13,
  reserved2: { reserved: 2 },
  moreFragments: "flag",
  identification: 32,
});

const walked = new Set<number>(Object.values(Ipv6ExtensionProtocol));

/** Length in bytes of an extension header from its length field; fragment headers have none. */
function extensionLength(protocol: number, field: number): number {
  if (protocol === Ipv6ExtensionProtocol.fragment) return fragment.size;
  return protocol === Ipv6ExtensionProtocol.authentication ? (field + 2) * 4 : (field + 1) * 8;
}

function extensionLengthField(protocol: number, length: number): number {
  return protocol === Ipv6ExtensionProtocol.authentication ? length / 4 - 2 : length / 8 - 1;
}

/** Whether the packet is one of several fragments. An "atomic" fragment (RFC 6946), which is whole, is not. */
export function isFragment(extension: Ipv6Extension): boolean {
  return extension.kind === "fragment" && (extension.fragmentOffset !== 0 || extension.moreFragments);
}

function refuse(offset: number, reason: string): never {
  throw new WireError("parse", "IPv6", offset, reason);
}

/**
 * Parses header and extension headers at the start of `bytes`, which may run past the packet. `headerLength` covers
 * both. Throws {@link WireError} when a header is cut, or when a length goes past the end.
 */
export function parseIpv6(bytes: Uint8Array): {
  readonly ip: Ipv6;
  readonly headerLength: number;
  readonly totalLength: number;
} {
  if (bytes.length < header.size) refuse(bytes.length, `the header ends after ${bytes.length} of 40 bytes`);
  const { version, payloadLength, nextHeader, ...fields } = header.read(bytes, 0);
  const totalLength = header.size + payloadLength;
  if (version !== 6) refuse(0, `the version is ${version}`);
  if (totalLength > bytes.length)
    refuse(4, `the payload length is ${payloadLength} where ${bytes.length - header.size} bytes follow`);

  const extensions: Ipv6Extension[] = [];
  let protocol = nextHeader;
  let offset: number = header.size;
  while (walked.has(protocol)) {
    const left = totalLength - offset;
    const length = left < 2 ? 2 : extensionLength(protocol, bytes[offset + 1] ?? 0);
    if (length > left) refuse(offset, `extension header ${protocol} takes ${length} bytes where ${left} are left`);
    const following = bytes[offset] ?? 0;
    if (protocol === Ipv6ExtensionProtocol.fragment) {
      const { nextHeader: _, ...fragmentFields } = fragment.read(bytes, offset);
      extensions.push({ kind: "fragment", ...fragmentFields });
    } else extensions.push({ kind: "other", protocol, data: copyBytes(bytes, offset + 2, offset + length) });
    offset += length;
    protocol = following;
    // Only the first fragment goes on with headers, and they may be cut anywhere: its content is left alone, too.
    if (extensions.some(isFragment)) break;
  }
  return { ip: { version: 6, ...fields, extensions, protocol }, headerLength: offset, totalLength };
}

/** Emits the headers of a packet with so many bytes after them. Throws {@link WireError} when a value does not fit. */
export function emitIpv6(ip: Ipv6, payloadLength: number): Uint8Array {
  const protocolOf = (extension: Ipv6Extension | undefined): number => {
    if (extension === undefined) return ip.protocol;
    return extension.kind === "fragment" ? Ipv6ExtensionProtocol.fragment : extension.protocol;
  };
  const extensions = ip.extensions.map((extension, index) => {
    const nextHeader = protocolOf(ip.extensions[index + 1]);
    if (extension.kind === "fragment") return fragment.write({ ...extension, nextHeader });
    const length = extension.data.length + 2;
    const field = extensionLengthField(extension.protocol, length);
    if (!walked.has(extension.protocol) || extension.protocol === Ipv6ExtensionProtocol.fragment)
      throw new WireError("emit", "IPv6", header.size, `${extension.protocol} is not an extension header with data`);
    if (!Number.isInteger(field) || field < 0 || field > 0xff)
      throw new WireError(
        "emit",
        "IPv6",
        header.size,
        `extension header ${extension.protocol} cannot be ${length} bytes`,
      );
    return concatBytes([Uint8Array.of(nextHeader, field), extension.data]);
  });
  const extensionsLength = extensions.reduce((sum, extension) => sum + extension.length, 0);
  const head = header.write({
    ...ip,
    nextHeader: protocolOf(ip.extensions[0]),
    payloadLength: extensionsLength + payloadLength,
  });
  return concatBytes([head, ...extensions]);
}
