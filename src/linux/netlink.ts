/**
 * Netlink messages: headers, attributes described by tables, and a socket for requests. Whatever the kernel sends is read
 * within its bounds: a length that lies ends the message it is in, never the program.
 */
import { SystemCallError } from "./ffi.ts";
import * as sock from "./socket-calls.ts";

const AF_NETLINK = 16;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLM_F_REQUEST = 1;
const NLM_F_DUMP_INTR = 0x10;
const NLM_F_DUMP = 0x300;
const NLM_F_ACK = 4;
const NLA_TYPE_MASK = 0x3fff;
const headerLength = 16;
const align = (length: number) => (length + 3) & ~3;

/** How an attribute's payload is read. `be…` are in network byte order; a table makes it nested. */
export type AttributeKind = "u8" | "u16" | "u32" | "u64" | "be16" | "be32" | "string" | "bytes" | AttributeTable;
export type AttributeTable = { readonly [name: string]: readonly [id: number, kind: AttributeKind] };

/** What a table's attributes become: numbers, bigints, strings, bytes or nested records, each of them possibly absent. */
export type Attributes<T extends AttributeTable> = {
  -readonly [name in keyof T]?: T[name][1] extends AttributeTable
    ? Attributes<T[name][1]>
    : T[name][1] extends "string"
      ? string
      : T[name][1] extends "bytes"
        ? Uint8Array
        : T[name][1] extends "u64"
          ? bigint
          : number;
};

export type NetlinkMessage = {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly payload: Uint8Array;
};

export function encodeMessage(message: NetlinkMessage): Uint8Array {
  const bytes = new Uint8Array(headerLength + align(message.payload.length));
  const data = new DataView(bytes.buffer);
  data.setUint32(0, headerLength + message.payload.length, true);
  data.setUint16(4, message.type, true);
  data.setUint16(6, message.flags, true);
  data.setUint32(8, message.sequence, true);
  bytes.set(message.payload, headerLength);
  return bytes;
}

/** The messages of one datagram; a truncated last one is left out. */
export function decodeMessages(bytes: Uint8Array): NetlinkMessage[] {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const messages: NetlinkMessage[] = [];
  for (let at = 0; at + headerLength <= bytes.length;) {
    const length = data.getUint32(at, true);
    if (length < headerLength || at + length > bytes.length) break;
    messages.push({
      type: data.getUint16(at + 4, true),
      flags: data.getUint16(at + 6, true),
      sequence: data.getUint32(at + 8, true),
      payload: bytes.subarray(at + headerLength, at + length),
    });
    at += align(length);
  }
  return messages;
}

/** Attributes in the order of `values`. @throws RangeError for a name that the table does not know. */
export function encodeAttributes<T extends AttributeTable>(table: T, values: Attributes<T>): Uint8Array {
  const parts = Object.entries(values).map(([name, value]) => {
    const entry = table[name];
    if (entry === undefined) throw new RangeError(`Cannot encode attribute ${name}: not in the table`);
    const payload = encodeValue(entry[1], value);
    const bytes = new Uint8Array(align(4 + payload.length));
    const data = new DataView(bytes.buffer);
    data.setUint16(0, 4 + payload.length, true);
    data.setUint16(2, entry[0] | (typeof entry[1] === "object" ? 0x8000 : 0), true);
    bytes.set(payload, 4);
    return bytes;
  });
  return concat(parts);
}

/** The attributes that the table knows and whose payload is long enough for their kind. */
export function decodeAttributes<T extends AttributeTable>(table: T, bytes: Uint8Array): Attributes<T> {
  const byId = new Map(Object.entries(table).map(([name, [id, kind]]) => [id, { name, kind }]));
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const result: Record<string, unknown> = {};
  for (let at = 0; at + 4 <= bytes.length;) {
    const length = data.getUint16(at, true);
    if (length < 4 || at + length > bytes.length) break;
    const known = byId.get(data.getUint16(at + 2, true) & NLA_TYPE_MASK);
    if (known !== undefined) {
      const value = decodeValue(known.kind, bytes.subarray(at + 4, at + length));
      if (value !== undefined) result[known.name] = value;
    }
    at += align(length);
  }
  return result as Attributes<T>;
}

const scalars = {
  u8: [1, (d: DataView) => d.getUint8(0), (d: DataView, v: number) => d.setUint8(0, v)],
  u16: [2, (d: DataView) => d.getUint16(0, true), (d: DataView, v: number) => d.setUint16(0, v, true)],
  u32: [4, (d: DataView) => d.getUint32(0, true), (d: DataView, v: number) => d.setUint32(0, v, true)],
  u64: [8, (d: DataView) => d.getBigUint64(0, true), (d: DataView, v: bigint) => d.setBigUint64(0, v, true)],
  be16: [2, (d: DataView) => d.getUint16(0), (d: DataView, v: number) => d.setUint16(0, v)],
  be32: [4, (d: DataView) => d.getUint32(0), (d: DataView, v: number) => d.setUint32(0, v)],
} as const;

function encodeValue(kind: AttributeKind, value: unknown): Uint8Array {
  if (typeof kind === "object") return encodeAttributes(kind, value as Attributes<AttributeTable>);
  if (kind === "bytes") return value as Uint8Array;
  if (kind === "string") return new TextEncoder().encode(`${value as string}\0`);
  const [size, , write] = scalars[kind];
  const bytes = new Uint8Array(size);
  write(new DataView(bytes.buffer), value as never);
  return bytes;
}

function decodeValue(kind: AttributeKind, bytes: Uint8Array): unknown {
  if (typeof kind === "object") return decodeAttributes(kind, bytes);
  if (kind === "bytes") return bytes;
  if (kind === "string") return new TextDecoder().decode(bytes).replace(/\0.*$/s, "");
  const [size, read] = scalars[kind];
  return bytes.length < size ? undefined : read(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength));
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** A dump that the kernel itself calls inconsistent (something changed meanwhile), or that was cut short. */
export class InterruptedDumpError extends Error {
  override readonly name = "InterruptedDumpError";
}

const replyTimeoutMs = 2000;
const bufferBytes = 64 * 1024;

/** A socket to one netlink family, in the namespace in which it was made. Requests are synchronous and short. */
export class NetlinkSocket {
  readonly fd: number;
  #sequence = 0;
  readonly #buffer = new Uint8Array(bufferBytes);

  constructor(protocol: number) {
    this.fd = sock.openSocket(AF_NETLINK, sock.SOCK_RAW, protocol);
  }

  /**
   * All answers to a dump request.
   * @throws InterruptedDumpError, SystemCallError (the kernel's answer).
   */
  dump(type: number, payload: Uint8Array): NetlinkMessage[] {
    const sequence = ++this.#sequence;
    sock.sendBytes(this.fd, encodeMessage({ type, flags: NLM_F_REQUEST | NLM_F_DUMP, sequence, payload }));
    const answers: NetlinkMessage[] = [];
    let interrupted = false;
    for (;;) {
      for (const message of this.#receive(type, sequence)) {
        interrupted ||= (message.flags & NLM_F_DUMP_INTR) !== 0;
        if (message.type === NLMSG_DONE) {
          throwOnError(message.payload, `dump of type ${type}`);
          if (interrupted) throw new InterruptedDumpError(`Cannot read netlink dump of type ${type}: interrupted`);
          return answers;
        }
        if (message.type === NLMSG_ERROR) throwOnError(message.payload, `request of type ${type}`);
        // The buffer is used again for the next datagram.
        else answers.push({ ...message, payload: message.payload.slice() });
      }
    }
  }

  /** Sends a request and waits for its acknowledgement. @throws SystemCallError (the kernel's answer). */
  request(type: number, flags: number, payload: Uint8Array): void {
    const sequence = ++this.#sequence;
    sock.sendBytes(this.fd, encodeMessage({ type, flags: flags | NLM_F_REQUEST | NLM_F_ACK, sequence, payload }));
    for (;;) {
      for (const message of this.#receive(type, sequence)) {
        if (message.type !== NLMSG_ERROR) continue;
        throwOnError(message.payload, `request of type ${type}`);
        return;
      }
    }
  }

  close(): void {
    sock.closeSocket(this.fd);
  }

  #receive(type: number, sequence: number): NetlinkMessage[] {
    const length = sock.receive(this.fd, this.#buffer, replyTimeoutMs);
    if (length === undefined) throw new InterruptedDumpError(`Cannot read netlink answer to type ${type}: none came`);
    return decodeMessages(this.#buffer.subarray(0, length)).filter((message) => message.sequence === sequence);
  }
}

function throwOnError(payload: Uint8Array, what: string): void {
  if (payload.length < 4) return;
  const code = new DataView(payload.buffer, payload.byteOffset).getInt32(0, true);
  if (code < 0) throw new SystemCallError("netlink", -code, what);
}
