/** A policy's state maps, decoded; and what the kernel knows of connections that are older than a chain. */
import { integerSizes, type IntegerName } from "../policy/index.ts";
import type { KernelFact } from "../policy/index.ts";
import { flowKeySize, type StateSlot } from "../compiler/layout.ts";
import {
  addressBytes,
  addressText,
  dumpTcpSockets,
  type KernelMap,
  type MapEntry,
  type NetworkNamespace,
  type SocketAddress,
  type TcpSocket,
} from "../linux/index.ts";

/** A flow's record: its 4-tuple as seen from this host, and the policy's fields. */
export interface FlowRecord {
  readonly local: string;
  readonly remote: string;
  readonly localPort: number;
  readonly remotePort: number;
  readonly fields: Readonly<Record<string, number>>;
}

const mappedPrefix = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff);

function mappedAddress(text: string): Uint8Array {
  const bytes = addressBytes(text);
  return bytes.length === 16 ? bytes : Uint8Array.of(...mappedPrefix, ...bytes);
}

/** The key of a flow's record, see `flowKeySize`. */
export function encodeFlowKey(local: SocketAddress, remote: SocketAddress): Uint8Array {
  const key = new Uint8Array(flowKeySize);
  const view = viewOf(key);
  key.set(mappedAddress(local.address), 0);
  key.set(mappedAddress(remote.address), 16);
  view.setUint16(32, local.port, true);
  view.setUint16(34, remote.port, true);
  return key;
}

/** Integer fields of a record, as numbers (exact up to 2^53). */
export function readFields(record: Uint8Array, slot: StateSlot): Record<string, number> {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  return Object.fromEntries(
    slot.fields.flatMap(({ name, type, offset }) =>
      typeof type === "object" ? [] : [[name, Number(readInteger(view, type, offset))]],
    ),
  );
}

/** The sum of the CPUs' records, field by field; raw bytes are the first CPU's. */
export function sumRecords(records: readonly Uint8Array[], slot: StateSlot): Uint8Array {
  const sum = records[0].slice();
  for (const { type, offset } of slot.fields) {
    if (typeof type === "object") continue;
    const total = records.reduce((all, record) => all + readInteger(viewOf(record), type, offset), 0n);
    writeInteger(sum, type, offset, total);
  }
  return sum;
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function readInteger(view: DataView, type: IntegerName, offset: number): bigint {
  let value = 0n;
  for (let i = integerSizes[type] - 1; i >= 0; i--) value = (value << 8n) | BigInt(view.getUint8(offset + i));
  return type.startsWith("i") ? BigInt.asIntN(8 * integerSizes[type], value) : value;
}

export function writeInteger(record: Uint8Array, type: IntegerName, offset: number, value: bigint): void {
  for (let i = 0; i < integerSizes[type]; i++) record[offset + i] = Number((value >> BigInt(8 * i)) & 0xffn);
}

/** Records of a table by their key. */
export interface TableRecord {
  readonly key: number;
  readonly fields: Readonly<Record<string, number>>;
}

export function readTable(map: KernelMap, slot: StateSlot): TableRecord[] {
  return records(map.entries(), slot, slot.key!);
}

function readSlots(map: KernelMap, slot: StateSlot): TableRecord[] {
  const used = map.entries().filter(({ value }) => value.some((byte) => byte !== 0));
  return records(used, slot, "u32");
}

function records(entries: readonly MapEntry[], slot: StateSlot, keyType: IntegerName): TableRecord[] {
  return entries.map(({ key, value }) => ({
    key: Number(readInteger(viewOf(key), keyType, 0)),
    fields: readFields(value, slot),
  }));
}

export function readFlows(map: KernelMap, slot: StateSlot): FlowRecord[] {
  return map.entries().map(({ key, value }) => {
    const view = new DataView(key.buffer, key.byteOffset, key.byteLength);
    return {
      local: addressText(key.subarray(0, 16)),
      remote: addressText(key.subarray(16, 32)),
      localPort: view.getUint16(32, true),
      remotePort: view.getUint16(34, true),
      fields: readFields(value, slot),
    };
  });
}

/** What a state's map holds; one of these, as its kind says. */
export interface StateContents {
  readonly flows?: FlowRecord[];
  readonly table?: TableRecord[];
  /** Those that are not all zeros; the key is their number. */
  readonly slots?: TableRecord[];
  readonly shared?: Readonly<Record<string, number>>;
  /** Summed over the CPUs. */
  readonly perCpu?: Readonly<Record<string, number>>;
}

export interface ChainState extends StateContents {
  readonly slot: StateSlot;
}

const onlyKey = new Uint8Array(4);

export function readState(map: KernelMap, slot: StateSlot): StateContents {
  switch (slot.kind) {
    case "flows":
      return { flows: readFlows(map, slot) };
    case "table":
      return { table: readTable(map, slot) };
    case "slots":
      return { slots: readSlots(map, slot) };
    case "shared":
      return { shared: readFields(map.lookup(onlyKey)!, slot) };
    case "perCpu":
      return { perCpu: readFields(sumRecords(map.lookupPerCpu(onlyKey)!, slot), slot) };
    case "perPacket":
    case "perSocket":
      return {};
  }
}

const facts: Readonly<Record<KernelFact, (socket: TcpSocket) => number>> = {
  rttUs: ({ tcp }) => tcp!.rttUs,
  windowScale: ({ tcp }) => tcp!.sndWscale,
  present: () => 1,
  tokenLocal: ({ mptcp }) => mptcp?.tokenLocal ?? 0,
  tokenRemote: ({ mptcp }) => mptcp?.tokenRemote ?? 0,
};

/** The kernel tells the peer's token with the subflows that joined from here only; a connection's others have the same. */
function withPeersTokens(sockets: readonly TcpSocket[]): TcpSocket[] {
  const tokens = new Map(
    sockets.flatMap(({ mptcp }) => (mptcp?.tokenRemote ? [[mptcp.tokenLocal, mptcp.tokenRemote]] : [])),
  );
  return sockets.map((socket) => {
    const tokenRemote = socket.mptcp && tokens.get(socket.mptcp.tokenLocal);
    return tokenRemote ? { ...socket, mptcp: { ...socket.mptcp, tokenRemote } } : socket;
  });
}

/** Fills the seeded fields of state maps for the connections that run now. */
export function seedState(
  slots: readonly StateSlot[],
  maps: Readonly<Record<string, KernelMap>>,
  netns?: NetworkNamespace,
): void {
  const seeded = slots.filter(({ seeds }) => Object.keys(seeds).length > 0);
  if (seeded.length === 0) return;
  const sockets = withPeersTokens(dumpTcpSockets(netns).filter(({ tcp, state }) => tcp && state === "established"));
  for (const slot of seeded) {
    for (const socket of sockets) {
      maps[slot.map].update(encodeFlowKey(socket.local, socket.remote), seedRecord(slot, socket));
    }
  }
}

function seedRecord(slot: StateSlot, socket: TcpSocket): Uint8Array {
  const record = new Uint8Array(slot.size);
  for (const [name, fact] of Object.entries(slot.seeds)) {
    const { offset, type } = slot.fields.find((field) => field.name === name)!;
    if (typeof type !== "object") writeInteger(record, type, offset, BigInt(Math.trunc(facts[fact](socket))));
  }
  return record;
}
