/**
 * Program contexts: structures whose fields the kernel's verifier translates one by one (include/uapi/linux/bpf.h; what may
 * be read and written: net/core/filter.c, *_is_valid_access). A table gives each field's place and rights.
 */
import type { VmErrorKind } from "./errors.ts";
import { region, type Address, type Region } from "./memory.ts";

export interface ContextField {
  readonly offset: number;
  readonly size: 4 | 8 | 1;
  readonly writable?: boolean;
  /** A 4-byte load gives a pointer into the packet. */
  readonly pointer?: "data" | "dataEnd" | "dataMeta";
}
export type ContextLayout<Name extends string> = Readonly<Record<Name, ContextField>>;

/** Fields a caller can set and gets back: those that are not pointers. */
export type ContextValues<Name extends string> = Partial<Record<Name, number | bigint>>;

function fields<const T extends Record<string, ContextField>>(layout: T): ContextLayout<keyof T & string> {
  return layout;
}

export const xdpContext = fields({
  data: { offset: 0, size: 4, pointer: "data" },
  dataEnd: { offset: 4, size: 4, pointer: "dataEnd" },
  dataMeta: { offset: 8, size: 4, pointer: "dataMeta" },
  ingressIfindex: { offset: 12, size: 4 },
  rxQueueIndex: { offset: 16, size: 4 },
});
export type XdpFieldName = "ingressIfindex" | "rxQueueIndex";

export const skbContext = fields({
  len: { offset: 0, size: 4 },
  pktType: { offset: 4, size: 4 },
  mark: { offset: 8, size: 4, writable: true },
  queueMapping: { offset: 12, size: 4, writable: true },
  /** The Ethernet type in network byte order, as a host reads it. */
  protocol: { offset: 16, size: 4 },
  vlanPresent: { offset: 20, size: 4 },
  vlanTci: { offset: 24, size: 4 },
  vlanProto: { offset: 28, size: 4 },
  priority: { offset: 32, size: 4, writable: true },
  ingressIfindex: { offset: 36, size: 4 },
  ifindex: { offset: 40, size: 4 },
  tcIndex: { offset: 44, size: 4, writable: true },
  cb0: { offset: 48, size: 4, writable: true },
  cb1: { offset: 52, size: 4, writable: true },
  cb2: { offset: 56, size: 4, writable: true },
  cb3: { offset: 60, size: 4, writable: true },
  cb4: { offset: 64, size: 4, writable: true },
  hash: { offset: 68, size: 4 },
  tcClassid: { offset: 72, size: 4, writable: true },
  data: { offset: 76, size: 4, pointer: "data" },
  dataEnd: { offset: 80, size: 4, pointer: "dataEnd" },
  napiId: { offset: 84, size: 4 },
  dataMeta: { offset: 140, size: 4, pointer: "dataMeta" },
  tstamp: { offset: 152, size: 8, writable: true },
  wireLen: { offset: 160, size: 4 },
  gsoSegs: { offset: 164, size: 4 },
  gsoSize: { offset: 176, size: 4 },
  tstampType: { offset: 180, size: 1 },
  hwtstamp: { offset: 184, size: 8 },
});
export type SkbFieldName = Exclude<keyof typeof skbContext, "data" | "dataEnd" | "dataMeta">;

export const sockOpsContext = fields({
  op: { offset: 0, size: 4 },
  /** Also the reply. */
  arg0: { offset: 4, size: 4, writable: true },
  arg1: { offset: 8, size: 4 },
  arg2: { offset: 12, size: 4 },
  arg3: { offset: 16, size: 4 },
  family: { offset: 20, size: 4 },
  /** Network byte order, as a host reads it. */
  remoteIp4: { offset: 24, size: 4 },
  localIp4: { offset: 28, size: 4 },
  remoteIp6Word0: { offset: 32, size: 4 },
  remoteIp6Word1: { offset: 36, size: 4 },
  remoteIp6Word2: { offset: 40, size: 4 },
  remoteIp6Word3: { offset: 44, size: 4 },
  localIp6Word0: { offset: 48, size: 4 },
  localIp6Word1: { offset: 52, size: 4 },
  localIp6Word2: { offset: 56, size: 4 },
  localIp6Word3: { offset: 60, size: 4 },
  /** Network byte order in the upper 16 bits, as a host reads it: `htonl(port)`. */
  remotePort: { offset: 64, size: 4 },
  /** Host byte order. */
  localPort: { offset: 68, size: 4 },
  isFullsock: { offset: 72, size: 4 },
  sndCwnd: { offset: 76, size: 4 },
  /** Smoothed RTT in microseconds times 8. */
  srttUs: { offset: 80, size: 4 },
  cbFlags: { offset: 84, size: 4 },
  state: { offset: 88, size: 4 },
  /** Microseconds. */
  rttMin: { offset: 92, size: 4 },
  sndSsthresh: { offset: 96, size: 4 },
  rcvNxt: { offset: 100, size: 4 },
  sndNxt: { offset: 104, size: 4 },
  sndUna: { offset: 108, size: 4 },
  mssCache: { offset: 112, size: 4 },
  ecnFlags: { offset: 116, size: 4 },
  rateDelivered: { offset: 120, size: 4 },
  rateIntervalUs: { offset: 124, size: 4 },
  packetsOut: { offset: 128, size: 4 },
  retransOut: { offset: 132, size: 4 },
  totalRetrans: { offset: 136, size: 4 },
  segsIn: { offset: 140, size: 4 },
  dataSegsIn: { offset: 144, size: 4 },
  segsOut: { offset: 148, size: 4 },
  dataSegsOut: { offset: 152, size: 4 },
  lostOut: { offset: 156, size: 4 },
  sackedOut: { offset: 160, size: 4 },
  skTxhash: { offset: 164, size: 4, writable: true },
  bytesReceived: { offset: 168, size: 8 },
  bytesAcked: { offset: 176, size: 8 },
  /** The address of the socket. */
  sk: { offset: 184, size: 8 },
  skbLen: { offset: 208, size: 4 },
  skbTcpFlags: { offset: 212, size: 4 },
  skbHwtstamp: { offset: 216, size: 8 },
});
export type SockOpsFieldName = keyof typeof sockOpsContext;

/** Where packet pointers of the moment point. */
export interface PacketPointers {
  pointer(which: "data" | "dataEnd" | "dataMeta"): Address;
}

/** A context of one run. */
export class Context<Name extends string> {
  readonly region: Region;
  private readonly layout: ContextLayout<Name>;
  private readonly byOffset: readonly (ContextField | undefined)[];
  private readonly packet: PacketPointers | undefined;
  private readonly fail: (kind: VmErrorKind, reason: string) => Error;

  constructor(
    layout: ContextLayout<Name>,
    values: ContextValues<Name>,
    packet: PacketPointers | undefined,
    fail: (kind: VmErrorKind, reason: string) => Error,
  ) {
    this.layout = layout;
    this.packet = packet;
    this.fail = fail;
    const all = Object.values<ContextField>(layout);
    this.byOffset = offsetsOf(layout);
    const end = Math.max(...all.map((field) => field.offset + field.size));
    this.region = region("context", new Uint8Array(end), { access: { load: this.load, store: this.store } });
    for (const [name, value] of Object.entries<number | bigint | undefined>(values)) {
      if (value !== undefined) this.set(name as Name, value);
    }
  }

  get(name: Name): bigint {
    const { offset, size } = this.layout[name];
    const { view } = this.region;
    if (size === 8) return view.getBigUint64(offset, true);
    return BigInt(size === 4 ? view.getUint32(offset, true) : view.getUint8(offset));
  }

  set(name: Name, value: number | bigint): void {
    const { offset, size, pointer } = this.layout[name];
    if (pointer) throw new RangeError(`Context field ${name} is a pointer`);
    const { view } = this.region;
    if (size === 8) view.setBigUint64(offset, BigInt.asUintN(64, BigInt(value)), true);
    else if (size === 4) view.setUint32(offset, Number(value), true);
    else view.setUint8(offset, Number(value));
  }

  /** The values of the fields a program can write. */
  written(): Partial<Record<Name, bigint>> {
    const values: Partial<Record<Name, bigint>> = {};
    for (const [name, field] of Object.entries<ContextField>(this.layout)) {
      if (field.writable) values[name as Name] = this.get(name as Name);
    }
    return values;
  }

  private readonly load = (at: number, size: number): Address => {
    const field = this.fieldAt(at, size);
    if (field.pointer) {
      if (size !== 4 || at !== field.offset || !this.packet)
        throw this.fail("memory", "a packet pointer is loaded with 4 bytes");
      return this.packet.pointer(field.pointer);
    }
    const { view } = this.region;
    if (size === 8) return { low: view.getUint32(at, true), high: view.getUint32(at + 4, true) };
    const low = size === 4 ? view.getUint32(at, true) : size === 2 ? view.getUint16(at, true) : view.getUint8(at);
    return { low, high: 0 };
  };

  private readonly store = (at: number, size: number, low: number, high: number): void => {
    const field = this.fieldAt(at, size);
    if (!field.writable) throw this.fail("readOnly", `the context's field at offset ${field.offset} is read-only`);
    const { view } = this.region;
    if (size === 1) view.setUint8(at, low);
    else if (size === 2) view.setUint16(at, low, true);
    else view.setUint32(at, low, true);
    if (size === 8) view.setUint32(at + 4, high, true);
  };

  private fieldAt(at: number, size: number): ContextField {
    const field = this.byOffset[at];
    if (!field) throw this.fail("memory", `the context has no field at offset ${at}`);
    // Neighbours that are plain numbers can be read and written together, as cb[0] and cb[1].
    for (let next = at + 1; next < at + size; next++) {
      const other = this.byOffset[next];
      if (!other || (other !== field && (!other.writable || !field.writable))) {
        throw this.fail("memory", `${size} bytes at offset ${at} of the context are no field`);
      }
    }
    return field;
  }
}

const offsetTables = new WeakMap<object, (ContextField | undefined)[]>();

/** The field each byte of a context belongs to. */
function offsetsOf(layout: object): (ContextField | undefined)[] {
  let table = offsetTables.get(layout);
  if (!table) {
    table = [];
    for (const field of Object.values<ContextField>(layout as Record<string, ContextField>)) {
      for (let i = 0; i < field.size; i++) table[field.offset + i] = field;
    }
    offsetTables.set(layout, table);
  }
  return table;
}
