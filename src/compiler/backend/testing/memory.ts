/** A flat memory with a context, a packet and a map in it, for the IR interpreter. */
import type { Machine } from "../../ir/interpret.ts";
import { DATA_END_OFFSET, DATA_OFFSET, MAP_BYTES, PACKET_BYTES } from "./generate.ts";
import { Random } from "./random.ts";

const CONTEXT_BYTES = 192;
const STACK_BYTES = 1024;

const Address = { context: 0x10000, packet: 0x20000, map: 0x30000, stack: 0x40000 } as const;

/** Contents depend on `seed` alone. */
export class FlatMemory implements Machine {
  readonly contextAddress = BigInt(Address.context);
  readonly packet = new Uint8Array(PACKET_BYTES);
  readonly map = new Uint8Array(MAP_BYTES);
  readonly #regions: readonly { readonly start: number; readonly view: DataView }[];
  #stackTop = Address.stack;

  constructor(seed: number) {
    const random = new Random(seed);
    for (const bytes of [this.packet, this.map]) for (const i of bytes.keys()) bytes[i] = random.below(256);
    const context = new DataView(new ArrayBuffer(CONTEXT_BYTES));
    context.setUint32(DATA_OFFSET, Address.packet, true);
    context.setUint32(DATA_END_OFFSET, Address.packet + PACKET_BYTES, true);
    this.#regions = [
      { start: Address.context, view: context },
      { start: Address.packet, view: new DataView(this.packet.buffer) },
      { start: Address.map, view: new DataView(this.map.buffer) },
      { start: Address.stack, view: new DataView(new ArrayBuffer(STACK_BYTES)) },
    ];
  }

  mapAddress(): bigint {
    return BigInt(Address.map);
  }

  allocate(size: number): bigint {
    const address = this.#stackTop;
    this.#stackTop += (size + 7) & ~7;
    return BigInt(address);
  }

  call(): bigint {
    return 0n;
  }

  load(address: bigint, size: number): bigint {
    const { view, at } = this.#find(address, size);
    let value = 0n;
    for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(view.getUint8(at + i));
    return value;
  }

  store(address: bigint, size: number, value: bigint): void {
    const { view, at } = this.#find(address, size);
    for (let i = 0; i < size; i++) view.setUint8(at + i, Number((value >> BigInt(8 * i)) & 0xffn));
  }

  #find(address: bigint, size: number): { view: DataView; at: number } {
    for (const { start, view } of this.#regions) {
      const at = Number(address) - start;
      if (at >= 0 && at + size <= view.byteLength) return { view, at };
    }
    throw new Error(`Cannot access ${size} bytes at 0x${address.toString(16)}`);
  }
}
