/** A policy's state maps, decoded; and what the kernel knows of connections that are older than a chain. */
import { integerSizes } from "../policy/index.ts";
import type { KernelFact } from "../policy/index.ts";
import type { StateSlot } from "../compiler/index.ts";
import {
  addressBytes,
  addressText,
  dumpTcpSockets,
  type KernelMap,
  type NetworkNamespace,
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

/** Fields of a record, as numbers (exact up to 2^53). */
export function readFields(record: Uint8Array, slot: StateSlot): Record<string, number> {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  return Object.fromEntries(
    slot.fields.map(({ name, type, offset }) => {
      let value = 0n;
      for (let i = integerSizes[type] - 1; i >= 0; i--) value = (value << 8n) | BigInt(view.getUint8(offset + i));
      return [name, Number(type.startsWith("i") ? BigInt.asIntN(8 * integerSizes[type], value) : value)];
    }),
  );
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

const facts: Readonly<Record<KernelFact, (socket: TcpSocket) => number>> = {
  rttUs: ({ tcp }) => tcp!.rttUs,
  windowScale: ({ tcp }) => tcp!.sndWscale,
  present: () => 1,
};

/** Fills the seeded fields of state maps for the connections that run now. */
export function seedState(
  slots: readonly StateSlot[],
  maps: Readonly<Record<string, KernelMap>>,
  netns?: NetworkNamespace,
): void {
  const seeded = slots.filter(({ seeds }) => Object.keys(seeds).length > 0);
  if (seeded.length === 0) return;
  const sockets = dumpTcpSockets(netns).filter(({ tcp, state }) => tcp && state === "established");
  for (const slot of seeded) {
    for (const socket of sockets) {
      const key = new Uint8Array(40);
      const view = new DataView(key.buffer);
      key.set(mappedAddress(socket.local.address), 0);
      key.set(mappedAddress(socket.remote.address), 16);
      view.setUint16(32, socket.local.port, true);
      view.setUint16(34, socket.remote.port, true);
      maps[slot.map].update(key, seedRecord(slot, socket));
    }
  }
}

function seedRecord(slot: StateSlot, socket: TcpSocket): Uint8Array {
  const record = new Uint8Array(slot.size);
  for (const [name, fact] of Object.entries(slot.seeds)) {
    const { offset, type } = slot.fields.find((field) => field.name === name)!;
    let value = BigInt(Math.trunc(facts[fact](socket)));
    for (let i = 0; i < integerSizes[type]; i++, value >>= 8n) record[offset + i] = Number(value & 0xffn);
  }
  return record;
}
