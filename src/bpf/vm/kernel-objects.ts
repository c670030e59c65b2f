/** Structures of the kernel for programs to be run on: made by tests, read and written by programs as the kernel lets them. */
import type { Resolver } from "../encode.ts";
import type { VmErrorKind } from "./errors.ts";
import { isKindOf, KernelLayout, type KernelPlace } from "./kernel-layout.ts";
import { REGION_BASE, region, type Address, type Region } from "./memory.ts";

/** Numbers, addresses of other objects, or bytes as they are in memory (addresses and ports of the network). */
export type FieldValue = number | bigint | boolean | Uint8Array;

/** Upper half of the address of the first object. */
export const FIRST_OBJECT = 0xffff_8880;
const MAXIMUM_OBJECTS = 0x7000;
/** Programs may read what is before and behind an object: zeros. */
const FAR = 2 ** 33;

/** What congestion control may write, with its bytes (net/ipv4/bpf_tcp_ca.c, bpf_tcp_ca_btf_struct_access). */
const writable: readonly (readonly [struct: string, path: string, size: number])[] = [
  ["sock", "sk_pacing_rate", 8],
  ["sock", "sk_pacing_status", 4],
  ["inet_connection_sock", "icsk_ca_priv", 104],
  ["inet_connection_sock", "icsk_ack.pending", 1],
  ["tcp_sock", "snd_cwnd", 4],
  ["tcp_sock", "snd_cwnd_cnt", 4],
  ["tcp_sock", "snd_cwnd_stamp", 4],
  ["tcp_sock", "snd_ssthresh", 4],
  ["tcp_sock", "ecn_flags", 1],
  ["tcp_sock", "app_limited", 4],
];

const UNLIMITED = 0xffff_ffff_ffff_ffffn;

/** How the kernel makes structures (net/ipv4/tcp.c, tcp_init_sock; net/core/sock.c, sock_init_data). */
const initial: Readonly<Record<string, Readonly<Record<string, FieldValue>>>> = {
  tcp_sock: {
    snd_cwnd: 10,
    snd_cwnd_clamp: 0xffff_ffff,
    snd_ssthresh: 0x7fff_ffff,
    mss_cache: 536,
    "inet_conn.icsk_inet.sk.sk_pacing_rate": UNLIMITED,
    "inet_conn.icsk_inet.sk.sk_max_pacing_rate": UNLIMITED,
  },
};

interface KernelObject {
  readonly struct: string;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly region: Region;
  freed: boolean;
}

/** What one run may do with the objects. */
export interface ObjectAccess {
  /** Addresses the program was called with: these it may hand on and, where it is `writable`, write as far as the kernel allows. */
  readonly given: ReadonlySet<bigint>;
  readonly writable: boolean;
  readonly fail: (kind: VmErrorKind, reason: string) => Error;
}

/**
 * Makes objects, and holds them from run to run and for as many VMs as are given it. Fields are named by the structure that
 * has them, or from one that begins with it: `tcp_sock.snd_cwnd`, `sock.sk_mark`, `tcp_sock.inet_conn.icsk_ulp_data`.
 */
export class KernelObjects {
  readonly layout = new KernelLayout();
  private readonly objects: KernelObject[] = [];
  private readonly structs: string[] = [];
  private access: ObjectAccess | undefined;
  /** Upper halves of what the program has loaded from objects or cast: reading through it cannot fault. */
  private readonly reachable = new Set<number>();
  /** What functions of the kernel gave to the program in this run. */
  private readonly trusted = new Set<bigint>();
  private readonly nothing = region("what a stray pointer points to", new Uint8Array(0), {
    writable: false,
    start: -FAR,
    end: FAR,
    access: { load: () => this.#zeros(), store: () => {} },
  });

  constructor() {
    for (const [struct, path, size] of writable) this.layout.find(struct, path, size);
  }

  /**
   * Makes an object and returns its address. Fields are zero unless given or, of sockets, as the kernel makes them; their
   * names are paths from `struct` (`snd_cwnd`) or symbols of a structure it begins with (`sock.sk_mark`).
   */
  make(struct: string, fields: Readonly<Record<string, FieldValue>> = {}): bigint {
    if (this.objects.length >= MAXIMUM_OBJECTS)
      throw new RangeError(`No room for more than ${MAXIMUM_OBJECTS} objects`);
    const high = FIRST_OBJECT + this.objects.length;
    const address = (BigInt(high) << 32n) | BigInt(REGION_BASE);
    const bytes = new Uint8Array(this.layout.bytesOf(struct));
    const view = new DataView(bytes.buffer);
    const bounds = { start: -FAR, end: FAR };
    const object: KernelObject = {
      struct,
      bytes,
      view,
      freed: false,
      region: region(`struct ${struct}`, bytes, {
        ...bounds,
        access: {
          load: (at, size) => this.#load(object, at, size),
          store: (at, size, low, high32) => this.#store(object, address, at, size, low, high32),
        },
      }),
    };
    this.objects.push(object);
    for (const [name, value] of Object.entries({ ...initial[struct], ...fields }))
      this.#put(object, this.#find(struct, name), value);
    return address;
  }

  /** The value of a field of the object at `address`; `symbol` is e.g. `tcp_sock.snd_cwnd`. */
  read(address: bigint, symbol: string): bigint {
    const { object, place } = this.#symbol(address, symbol);
    const size = this.layout.sizeOf(place) ?? 8;
    const bits = Math.min(8 * size, 64);
    return BigInt.asUintN(bits, object.view.getBigUint64(place.offset, true));
  }

  /** Writes a field of the object at `address`, whatever programs may do. */
  write(address: bigint, symbol: string, value: FieldValue): void {
    const { object, place } = this.#symbol(address, symbol);
    this.#put(object, place, value);
  }

  /**
   * Makes a list as the kernel's `list_head` is: the field `head` of the object at `owner` (`mptcp_sock.conn_list`) and the
   * fields `node` (`mptcp_subflow_context.node`) of the objects at `members` point to one another, in this order.
   */
  link(owner: bigint, head: string, members: readonly bigint[], node: string): void {
    const places = [this.fieldAddress(owner, head), ...members.map((member) => this.fieldAddress(member, node))];
    const holders = [{ address: owner, symbol: head }, ...members.map((address) => ({ address, symbol: node }))];
    holders.forEach(({ address, symbol }, i) => {
      this.write(address, `${symbol}.next`, places[(i + 1) % places.length]);
      this.write(address, `${symbol}.prev`, places.at(i - 1)!);
    });
  }

  /** The address of a field inside the object at `address`. */
  fieldAddress(address: bigint, symbol: string): bigint {
    return address + BigInt(this.#symbol(address, symbol).place.offset);
  }

  /** Ends an object, as another CPU would: pointers to it that programs still have lead to zeros. */
  free(address: bigint): void {
    this.#at(address).freed = true;
  }

  /** The structure that an object is; undefined when there is none at the address. */
  structAt(address: bigint): string | undefined {
    const object = this.objects[Number(address >> 32n) - FIRST_OBJECT];
    return object && !object.freed && Number(address & 0xffff_ffffn) === REGION_BASE ? object.struct : undefined;
  }

  // For VMs

  /** Gives programs the numbers of fields and structures. */
  readonly names: Pick<Resolver, "field" | "bitField" | "type"> = {
    field: (struct, path, size) => this.layout.find(struct, path, size).offset,
    // Here every bit field has bytes of its own.
    bitField: () => ({ shift: 0, bits: 8 }),
    type: (struct) => {
      const known = this.structs.indexOf(struct);
      return known >= 0 ? known + 1 : this.structs.push(struct);
    },
  };

  /** Begins a run. */
  begin(access: ObjectAccess): void {
    this.access = access;
    this.reachable.clear();
    this.trusted.clear();
  }

  /** The memory of an address with this upper half. */
  find(high: number): Region | undefined {
    const object = this.objects[high - FIRST_OBJECT];
    if (object) return object.region;
    return this.reachable.has(high) ? this.nothing : undefined;
  }

  /** `bpf_rdonly_cast`: from now on the program may read through the pointer. */
  cast(address: bigint, type: bigint): bigint {
    const struct = this.structs[Number(type) - 1];
    if (struct === undefined) throw this.error("call", `argument 2 is no structure of the kernel: ${type}`);
    const is = this.structAt(address);
    if (is !== undefined && !isKindOf(is, struct) && !isKindOf(struct, is))
      throw this.error("call", `it takes a struct ${is} for a struct ${struct}`);
    this.reachable.add(Number(address >> 32n));
    return address;
  }

  /** A function of the kernel gave an object to the program, which may hand it on. */
  trust(address: bigint): void {
    this.reachable.add(Number(address >> 32n));
    this.trusted.add(address);
  }

  /** The object an argument is, which must be one that the program was called with: others the verifier does not trust. */
  given(address: bigint, argument: number): bigint {
    if (!this.access?.given.has(address) && !this.trusted.has(address))
      throw this.error("call", `argument ${argument} is nothing that the program was called with`);
    return address;
  }

  /** An error at the instruction that the program is at. */
  error(kind: VmErrorKind, reason: string): Error {
    return this.access?.fail(kind, reason) ?? new Error(reason);
  }

  #zeros(): Address {
    this.reachable.add(0);
    return { low: 0, high: 0 };
  }

  #load(object: KernelObject, at: number, size: number): Address {
    if (object.freed || at < 0 || at + size > object.bytes.length) return this.#zeros();
    const { view } = object;
    if (size === 1) return { low: view.getUint8(at), high: 0 };
    if (size === 2) return { low: view.getUint16(at, true), high: 0 };
    const low = view.getUint32(at, true);
    if (size === 4) return { low, high: 0 };
    const high = view.getUint32(at + 4, true);
    this.reachable.add(high);
    return { low, high };
  }

  #store(object: KernelObject, address: bigint, at: number, size: number, low: number, high: number): void {
    const name = this.layout.nameAt(object.struct, at);
    if (!this.access?.writable || !this.access.given.has(address) || object.struct !== "tcp_sock")
      throw this.error("readOnly", `it writes ${name} of an object that it was not called with`);
    const allowed = writable.some(([struct, path, bytes]) => {
      const { offset } = this.layout.find(struct, path);
      // The kernel wants the whole field's first byte, but for private memory.
      return (bytes > 8 ? at >= offset : at === offset) && at + size <= offset + bytes;
    });
    if (!allowed) throw this.error("readOnly", `it writes ${size} bytes of ${name}, which congestion control may not`);
    const { view } = object;
    if (size === 1) view.setUint8(at, low);
    else if (size === 2) view.setUint16(at, low, true);
    else view.setUint32(at, low, true);
    if (size === 8) view.setUint32(at + 4, high, true);
  }

  #put(object: KernelObject, place: KernelPlace, value: FieldValue): void {
    if (value instanceof Uint8Array) {
      object.bytes.set(value, place.offset);
      return;
    }
    const size = this.layout.sizeOf(place) ?? 8;
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
    object.bytes.set(bytes.subarray(0, size), place.offset);
  }

  /** A field by its path from a structure, or by a symbol of one that it begins with. */
  #find(struct: string, name: string): KernelPlace {
    const [first, ...rest] = name.split(".");
    return rest.length > 0 && isKindOf(struct, first)
      ? this.layout.find(first, rest.join("."))
      : this.layout.find(struct, name);
  }

  #symbol(address: bigint, symbol: string): { readonly object: KernelObject; readonly place: KernelPlace } {
    const object = this.#at(address);
    const [struct] = symbol.split(".", 1);
    if (!isKindOf(object.struct, struct))
      throw new RangeError(`${symbol} is no field of the struct ${object.struct} at 0x${address.toString(16)}`);
    return { object, place: this.#find(object.struct, symbol) };
  }

  #at(address: bigint): KernelObject {
    const object = this.objects[Number(address >> 32n) - FIRST_OBJECT];
    if (!object || Number(address & 0xffff_ffffn) !== REGION_BASE)
      throw new RangeError(`There is no kernel object at 0x${address.toString(16)}`);
    return object;
  }
}
