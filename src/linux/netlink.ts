/**
 * Netlink messages: headers, attributes described by tables, and a socket for requests. Whatever the kernel sends is read
 * within its bounds: a length that lies ends the message it is in, never the program.
 */
import { SystemCallError } from "./ffi.ts";
import * as sock from "./socket-calls.ts";

const AF_NETLINK = 16;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLM_F_REQUEST = 1;
const NLM_F_DUMP_INTR = 0x10;
const NLM_F_DUMP = 0x300;
const NLM_F_ACK = 4;
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;
const NLA_TYPE_MASK = 0x3fff;
const NLA_F_NESTED = 0x8000;
const headerLength = 16;
const attributeHeaderLength = 4;
const encoder = new TextEncoder();
const align = (length: number) => (length + 3) & ~3;

/** How an attribute's payload is read. `be…` are in network byte order; a table makes it nested. */
export type AttributeKind =
  "u8" | "u16" | "u32" | "u64" | "s32" | "be16" | "be32" | "string" | "bytes" | AttributeTable;
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
  writeHeader(new DataView(bytes.buffer), headerLength + message.payload.length, message);
  bytes.set(message.payload, headerLength);
  return bytes;
}

function writeHeader(
  data: DataView,
  length: number,
  { type, flags, sequence }: { readonly type: number; readonly flags: number; readonly sequence: number },
): void {
  data.setUint32(0, length, true);
  data.setUint16(4, type, true);
  data.setUint16(6, flags, true);
  data.setUint32(8, sequence, true);
  // Of the kernel: port 0.
  data.setUint32(12, 0, true);
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
  return scratch.bytes.slice(0, writeAttributes(table, values, scratch, 0));
}

/** The same bytes, whole and by numbers. */
type Memory = { readonly bytes: Uint8Array; readonly data: DataView };

/**
 * Where attributes are written before their length is known, and messages that are sent at once: the first array of more than
 * 64 bytes that is made after a pause takes 15 µs. No attribute is longer than 64 KiB.
 */
const scratch = ((bytes) => ({ bytes, data: new DataView(bytes.buffer) }))(new Uint8Array(80 * 1024));

/** @returns where they end */
function writeAttributes(table: AttributeTable, values: Attributes<AttributeTable>, to: Memory, start: number): number {
  let at = start;
  for (const name of Object.keys(values)) {
    const entry = table[name];
    if (entry === undefined) throw new RangeError(`Cannot encode attribute ${name}: not in the table`);
    const [id, kind] = entry;
    let end = writeValue(kind, values[name], to, at + attributeHeaderLength);
    to.data.setUint16(at, end - at, true);
    to.data.setUint16(at + 2, id | (typeof kind === "object" ? NLA_F_NESTED : 0), true);
    while ((end & 3) !== 0) to.bytes[end++] = 0;
    at = end;
  }
  return at;
}

/** @returns where it ends */
function writeValue(kind: AttributeKind, value: unknown, to: Memory, at: number): number {
  if (typeof kind === "object") return writeAttributes(kind, value as Attributes<AttributeTable>, to, at);
  if (kind === "bytes") {
    to.bytes.set(value as Uint8Array, at);
    return at + (value as Uint8Array).length;
  }
  if (kind === "string") {
    const end = at + encoder.encodeInto(value as string, to.bytes.subarray(at)).written;
    to.bytes[end] = 0;
    return end + 1;
  }
  const [size, , write] = scalars[kind];
  write(to.data, at, value as never);
  return at + size;
}

type KnownAttributes = ReadonlyMap<number, { readonly name: string; readonly kind: AttributeKind }>;
/** Tables by number: there are few of them, and messages are read by them again and again. */
const byNumber = new WeakMap<AttributeTable, KnownAttributes>();

function knownAttributes(table: AttributeTable): KnownAttributes {
  let known = byNumber.get(table);
  if (!known) {
    known = new Map(Object.entries(table).map(([name, [id, kind]]) => [id, { name, kind }]));
    byNumber.set(table, known);
  }
  return known;
}

/** The attributes that the table knows and whose payload is long enough for their kind. */
export function decodeAttributes<T extends AttributeTable>(table: T, bytes: Uint8Array): Attributes<T> {
  const known = knownAttributes(table);
  const memory = { bytes, data: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
  const result: Record<string, unknown> = {};
  for (let at = 0; at + attributeHeaderLength <= bytes.length;) {
    const length = memory.data.getUint16(at, true);
    if (length < attributeHeaderLength || at + length > bytes.length) break;
    const entry = known.get(memory.data.getUint16(at + 2, true) & NLA_TYPE_MASK);
    if (entry !== undefined) {
      const value = readValue(entry.kind, memory, at + attributeHeaderLength, at + length);
      if (value !== undefined) result[entry.name] = value;
    }
    at += align(length);
  }
  return result as Attributes<T>;
}

const scalars = {
  u8: [1, (d: DataView, at: number) => d.getUint8(at), (d: DataView, at: number, v: number) => d.setUint8(at, v)],
  u16: [
    2,
    (d: DataView, at: number) => d.getUint16(at, true),
    (d: DataView, at: number, v: number) => d.setUint16(at, v, true),
  ],
  u32: [
    4,
    (d: DataView, at: number) => d.getUint32(at, true),
    (d: DataView, at: number, v: number) => d.setUint32(at, v, true),
  ],
  s32: [
    4,
    (d: DataView, at: number) => d.getInt32(at, true),
    (d: DataView, at: number, v: number) => d.setInt32(at, v, true),
  ],
  u64: [
    8,
    (d: DataView, at: number) => d.getBigUint64(at, true),
    (d: DataView, at: number, v: bigint) => d.setBigUint64(at, v, true),
  ],
  be16: [2, (d: DataView, at: number) => d.getUint16(at), (d: DataView, at: number, v: number) => d.setUint16(at, v)],
  be32: [4, (d: DataView, at: number) => d.getUint32(at), (d: DataView, at: number, v: number) => d.setUint32(at, v)],
} as const;

function readValue(kind: AttributeKind, { bytes, data }: Memory, start: number, end: number): unknown {
  if (typeof kind === "object") return decodeAttributes(kind, bytes.subarray(start, end));
  if (kind === "bytes") return bytes.subarray(start, end);
  if (kind === "string") return new TextDecoder().decode(bytes.subarray(start, end)).replace(/\0.*$/s, "");
  const [size, read] = scalars[kind];
  return end - start < size ? undefined : read(data, start);
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

/** The kernel's answer to a request that it refused. */
export class NetlinkError extends SystemCallError {
  /** Its own words (an extended acknowledgement), where it gave any. */
  readonly kernelMessage: string | undefined;
  constructor(errno: number, request: string, kernelMessage?: string) {
    super("netlink", errno, kernelMessage === undefined ? request : `${request}: ${kernelMessage}`);
    this.name = "NetlinkError";
    this.kernelMessage = kernelMessage;
  }
}

export type NetlinkRequest = { readonly type: number; readonly flags?: number; readonly payload: Uint8Array };

const replyTimeoutMs = 2000;
const bufferBytes = 64 * 1024;
/** Requests in one datagram: their acknowledgements fit into any receive buffer. */
const mostAtOnce = 64;

/** A socket to one netlink family, in the namespace in which it was made. Requests are synchronous and short. */
export class NetlinkSocket {
  readonly fd: number;
  #sequence = 0;
  readonly #buffer = new Uint8Array(bufferBytes);

  constructor(protocol: number) {
    this.fd = sock.openSocket(AF_NETLINK, sock.SOCK_RAW, protocol);
    // Sockets without a number of their own get no multicasts; the kernel chooses one.
    sock.bindSocket(this.fd, Uint8Array.of(AF_NETLINK, ...new Uint8Array(11)));
    for (const option of [NETLINK_EXT_ACK, NETLINK_CAP_ACK]) {
      try {
        sock.setOption(this.fd, SOL_NETLINK, option, 1);
      } catch {
        // Before Linux 4.12: errors come without the kernel's words.
      }
    }
  }

  /** From now on messages of a multicast group arrive, too. @throws SystemCallError */
  join(group: number): void {
    sock.setOption(this.fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group);
  }

  /**
   * All answers to a dump request.
   * @throws InterruptedDumpError, NetlinkError (the kernel's answer).
   */
  dump(type: number, payload: Uint8Array): NetlinkMessage[] {
    const sequence = this.#send([{ type, payload }], NLM_F_DUMP);
    const answers: NetlinkMessage[] = [];
    let interrupted = false;
    for (;;) {
      for (const message of this.#receive(type)) {
        if (message.sequence !== sequence) continue;
        interrupted ||= (message.flags & NLM_F_DUMP_INTR) !== 0;
        if (message.type === NLMSG_DONE) {
          throwOnError(message, `dump of type ${type}`);
          if (interrupted) throw new InterruptedDumpError(`Cannot read netlink dump of type ${type}: interrupted`);
          return answers;
        }
        if (message.type === NLMSG_ERROR) throwOnError(message, `request of type ${type}`);
        // The buffer is used again for the next datagram.
        else answers.push({ ...message, payload: message.payload.slice() });
      }
    }
  }

  /** Sends a request and waits for its acknowledgement. @throws NetlinkError (the kernel's answer). */
  request(type: number, flags: number, payload: Uint8Array): void {
    this.ask(type, flags, payload);
  }

  /**
   * Sends a request of a header and attributes, and waits for its acknowledgement.
   * @throws NetlinkError (the kernel's answer).
   */
  requestAttributes<T extends AttributeTable>(
    type: number,
    header: readonly number[],
    table: T,
    values: Attributes<T>,
  ): void {
    const start = headerLength + header.length;
    const length = writeAttributes(table, values, scratch, start);
    writeHeader(scratch.data, length, { type, flags: NLM_F_REQUEST | NLM_F_ACK, sequence: ++this.#sequence });
    for (let i = 0; i < header.length; i++) scratch.bytes[headerLength + i] = header[i];
    sock.sendBytes(this.fd, scratch.bytes, length);
    const [error] = this.#acknowledgements(this.#sequence, 1, type, []);
    if (error) throw error;
  }

  /** What the kernel answers to a request before it acknowledges it. @throws NetlinkError (the kernel's answer). */
  ask(type: number, flags: number, payload: Uint8Array): NetlinkMessage[] {
    const answers: NetlinkMessage[] = [];
    const [error] = this.#exchange([{ type, flags, payload }], answers);
    if (error) throw error;
    return answers;
  }

  /** Sends requests together and waits for all acknowledgements: for each request its error, or undefined. */
  requestAll(requests: readonly NetlinkRequest[]): (NetlinkError | undefined)[] {
    const results: (NetlinkError | undefined)[] = [];
    for (let at = 0; at < requests.length; at += mostAtOnce)
      results.push(...this.#exchange(requests.slice(at, at + mostAtOnce), []));
    return results;
  }

  close(): void {
    sock.closeSocket(this.fd);
  }

  /** @returns the sequence number of the first request; the others follow it. */
  #send(requests: readonly NetlinkRequest[], mode: typeof NLM_F_DUMP | typeof NLM_F_ACK): number {
    const first = this.#sequence + 1;
    const messages = requests.map(({ type, flags = 0, payload }) =>
      encodeMessage({ type, flags: flags | mode | NLM_F_REQUEST, sequence: ++this.#sequence, payload }),
    );
    sock.sendBytes(this.fd, messages.length === 1 ? messages[0] : concat(messages));
    return first;
  }

  #exchange(requests: readonly NetlinkRequest[], answers: NetlinkMessage[]): (NetlinkError | undefined)[] {
    const first = this.#send(requests, NLM_F_ACK);
    return this.#acknowledgements(first, requests.length, requests[0].type, answers);
  }

  /** For each of so many requests of a type its error, or undefined; what comes before goes to `answers`. */
  #acknowledgements(
    first: number,
    count: number,
    type: number,
    answers: NetlinkMessage[],
  ): (NetlinkError | undefined)[] {
    const results: (NetlinkError | undefined)[] = [];
    for (let left = count; left > 0;) {
      for (const message of this.#receive(type)) {
        const index = message.sequence - first;
        if (index < 0 || index >= count) continue;
        if (message.type === NLMSG_ERROR) {
          results[index] = errorOf(message, `request of type ${type}`);
          left--;
        } else answers.push({ ...message, payload: message.payload.slice() });
      }
    }
    return results;
  }

  #receive(type: number): NetlinkMessage[] {
    const length = sock.receive(this.fd, this.#buffer, replyTimeoutMs);
    if (length === undefined) throw new InterruptedDumpError(`Cannot read netlink answer to type ${type}: none came`);
    return decodeMessages(this.#buffer.subarray(0, length));
  }
}

const acknowledgementAttributes = { message: [1, "string"] } as const;

/** What an acknowledgement, or the end of a dump, says went wrong. */
export function errorOf({ type, flags, payload }: NetlinkMessage, what: string): NetlinkError | undefined {
  if (payload.length < 4) return undefined;
  const data = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const code = data.getInt32(0, true);
  if (code >= 0) return undefined;
  if ((flags & NLM_F_ACK_TLVS) === 0) return new NetlinkError(-code, what);
  // An acknowledgement repeats the request, or its header alone, before what it has to add.
  const repeated = type === NLMSG_DONE || payload.length < 8 ? 0 : data.getUint32(4, true);
  const added = 4 + (type === NLMSG_DONE ? 0 : (flags & NLM_F_CAPPED) !== 0 ? headerLength : align(repeated));
  return new NetlinkError(-code, what, decodeAttributes(acknowledgementAttributes, payload.subarray(added)).message);
}

function throwOnError(message: NetlinkMessage, what: string): void {
  const error = errorOf(message, what);
  if (error) throw error;
}
