/** What differs between two packets, field by field. */
import { equalBytes, toHex } from "./bytes.ts";
import { formatIpAddress, formatMacAddress } from "./ip.ts";
import { parsePacket, type Packet } from "./packet.ts";
import type { TcpOption } from "./tcp-options.ts";
import { describeTcpFlags, describeTcpOption, tcpOptionName } from "./text.ts";
import { WireError } from "./errors.ts";

export interface PacketChange {
  /** `tcp.window`, `option ADD_ADDR`, `payload`. */
  readonly field: string;
  /** Absent where the field was added. */
  readonly before?: string;
  /** Absent where the field was removed. */
  readonly after?: string;
}

type Fields = ReadonlyMap<string, string>;

const hexadecimal = (value: number): string => `0x${value.toString(16)}`;

/** Everything of a packet but its options and payload, as text. Lengths follow from the rest. */
function fieldsOf({ ethernet, ip, tcp, trailer }: Packet): Fields {
  const fields = new Map<string, string>();
  if (ethernet) {
    fields.set("ethernet.source", formatMacAddress(ethernet.source));
    fields.set("ethernet.destination", formatMacAddress(ethernet.destination));
    if (ethernet.tags.length > 0) fields.set("ethernet.vlan", ethernet.tags.map(({ vlan }) => vlan).join(","));
    fields.set("ethernet.etherType", hexadecimal(ethernet.etherType));
  }
  if (ip) {
    fields.set("ip.source", formatIpAddress(ip.source));
    fields.set("ip.destination", formatIpAddress(ip.destination));
    fields.set("ip.dscp", String(ip.trafficClass >> 2));
    fields.set("ip.ecn", String(ip.trafficClass & 3));
    fields.set("ip.ttl", String(ip.version === 4 ? ip.timeToLive : ip.hopLimit));
    if (ip.version === 4) {
      fields.set("ip.identification", String(ip.identification));
      fields.set("ip.dontFragment", String(ip.dontFragment));
      if (ip.options.length > 0) fields.set("ip.options", toHex(ip.options));
      if (ip.checksum !== undefined) fields.set("ip.checksum", "wrong");
    } else fields.set("ip.flowLabel", String(ip.flowLabel));
  }
  if (tcp) {
    for (const name of [
      "sourcePort",
      "destinationPort",
      "sequence",
      "acknowledgment",
      "window",
      "urgentPointer",
    ] as const)
      fields.set(`tcp.${name}`, String(tcp[name]));
    fields.set("tcp.flags", describeTcpFlags(tcp.flags));
    if (tcp.checksum !== undefined) fields.set("tcp.checksum", "wrong");
  }
  if (trailer) fields.set("trailer", `${trailer.length} bytes`);
  return fields;
}

function changedFields(before: Fields, after: Fields): PacketChange[] {
  return [...new Set([...before.keys(), ...after.keys()])].flatMap((field) => {
    const [was, is] = [before.get(field), after.get(field)];
    return was === is
      ? []
      : [{ field, ...(was !== undefined && { before: was }), ...(is !== undefined && { after: is }) }];
  });
}

/** Options that say something: what a program blanks out becomes padding. */
const meaningful = (options: readonly TcpOption[]): TcpOption[] =>
  options.filter(({ kind }) => kind !== "nop" && kind !== "endOfList");

function changedOptions(before: readonly TcpOption[], after: readonly TcpOption[]): PacketChange[] {
  const removed = meaningful(before);
  const added = meaningful(after).filter((option) => {
    const same = removed.findIndex((one) => describeTcpOption(one) === describeTcpOption(option));
    if (same >= 0) removed.splice(same, 1);
    return same < 0;
  });
  const changes = removed.map((option): PacketChange => {
    const field = `option ${tcpOptionName(option)}`;
    // One of the same kind took its place.
    const heir = added.findIndex(({ kind }) => kind === option.kind);
    if (heir < 0) return { field, before: describeTcpOption(option) };
    const [successor] = added.splice(heir, 1);
    return { field, before: describeTcpOption(option), after: describeTcpOption(successor) };
  });
  return [
    ...changes,
    ...added.map((option) => ({ field: `option ${tcpOptionName(option)}`, after: describeTcpOption(option) })),
  ];
}

function tryParse(frame: Uint8Array): Packet | undefined {
  try {
    return parsePacket(frame);
  } catch (error) {
    if (error instanceof WireError) return undefined;
    throw error;
  }
}

/**
 * What differs between two frames. Checksums are told of only where one is wrong in one of the frames and right in the
 * other; the padding between options not at all. Frames that do not parse differ by their bytes.
 */
export function packetChanges(before: Uint8Array, after: Uint8Array): PacketChange[] {
  if (equalBytes(before, after)) return [];
  const [was, is] = [tryParse(before), tryParse(after)];
  if (!was || !is) return [{ field: "bytes", before: toHex(before), after: toHex(after) }];
  const changes = [
    ...changedFields(fieldsOf(was), fieldsOf(is)),
    ...changedOptions(was.tcp?.options ?? [], is.tcp?.options ?? []),
  ];
  if (!equalBytes(was.payload, is.payload)) {
    const sizes = [was.payload.length, is.payload.length].map((length) => `${length} bytes`) as [string, string];
    changes.push({ field: "payload", before: sizes[0], after: sizes[0] === sizes[1] ? "as many others" : sizes[1] });
  }
  return changes;
}
