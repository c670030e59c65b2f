/**
 * Where the fields of kernel structures are in the VM. No kernel's layout is needed: programs name the fields they use, and
 * every field gets a place when it is first named. Only what begins with what is the kernel's.
 */

/** Structures that begin with another one: the member that it is, and which. */
const beginnings: Readonly<Record<string, { readonly member: string; readonly struct: string } | undefined>> = {
  sock: { member: "__sk_common", struct: "sock_common" },
  inet_sock: { member: "sk", struct: "sock" },
  inet_connection_sock: { member: "icsk_inet", struct: "inet_sock" },
  tcp_sock: { member: "inet_conn", struct: "inet_connection_sock" },
  mptcp_sock: { member: "sk", struct: "inet_connection_sock" },
};

/** Whether a structure is of a kind, or begins with one that is. */
export function isKindOf(struct: string, kind: string): boolean {
  for (let name: string | undefined = struct; name; name = beginnings[name]?.struct) if (name === kind) return true;
  return false;
}

/** Bytes of the fields that a structure has itself, behind those of the structure it begins with. */
const OWN_BYTES = 2048;
/** Bytes of a field, enough for an address or the two pointers of a list. */
const FIELD_BYTES = 16;
const ARRAY_BYTES = 128;
const ELEMENT_BYTES = 8;

/** A field, found. */
export interface KernelPlace {
  /** The structure that has it itself, and its path from there. */
  readonly struct: string;
  readonly path: string;
  /** Bytes from the start. */
  readonly offset: number;
}

/** Parts of a field whose places in it are fixed. */
const parts: readonly (readonly [pattern: RegExp, offset: (index: number) => number])[] = [
  [/\.in6_u\.u6_addr8\[(\d+)\]$/, (index) => index],
  [/\.in6_u\.u6_addr16\[(\d+)\]$/, (index) => 2 * index],
  [/\.in6_u\.u6_addr32\[(\d+)\]$/, (index) => 4 * index],
  [/\.next$/, () => 0],
  [/\.prev$/, () => 8],
  [/\[(\d+)\]$/, (index) => ELEMENT_BYTES * index],
];

export class KernelLayout {
  private readonly places = new Map<string, Map<string, number>>();
  private readonly free = new Map<string, number>();
  private readonly sizes = new Map<string, number>();

  /**
   * Where a field is. It may be named from any structure that begins with the one that has it:
   * `inet_conn.icsk_inet.sk.sk_mark` of a `tcp_sock` is `sk_mark` of its `sock`.
   * @param size bytes that it must have: everyone who tells them must agree
   */
  find(struct: string, path: string, size?: number): KernelPlace {
    let owner = struct;
    let rest = path;
    for (let first = beginnings[owner]; first && rest.startsWith(`${first.member}.`); first = beginnings[owner]) {
      rest = rest.slice(first.member.length + 1);
      owner = first.struct;
    }
    if (beginnings[owner]?.member === rest) return { struct: owner, path: rest, offset: 0 };
    if (size !== undefined) this.#agree(`${owner}.${rest}`, size);
    const [part, offsetIn] = parts.find(([pattern]) => pattern.test(rest)) ?? [];
    const index = Number(part?.exec(rest)?.[1] ?? 0);
    const name = part ? rest.replace(part, "") : rest;
    const within = offsetIn?.(index) ?? 0;
    const bytes = offsetIn === parts.at(-1)![1] ? ARRAY_BYTES : FIELD_BYTES;
    if (within >= bytes)
      throw new RangeError(`${owner}.${rest} is out of the ${bytes} bytes that the field has in the VM`);
    return { struct: owner, path: rest, offset: this.#place(owner, name, bytes) + within };
  }

  /** Bytes of a field, where a program or the kernel has told them. */
  sizeOf({ struct, path }: KernelPlace): number | undefined {
    return this.sizes.get(`${struct}.${path}`);
  }

  /** Bytes of a structure. */
  bytesOf(struct: string): number {
    return this.#start(struct) + OWN_BYTES;
  }

  /** The field at an offset, for messages. */
  nameAt(struct: string, offset: number): string {
    for (let name: string | undefined = struct; name; name = beginnings[name]?.struct)
      for (const [field, at] of this.places.get(name) ?? [])
        if (offset >= at && offset < at + FIELD_BYTES) return `${name}.${field}`;
    return `byte ${offset} of struct ${struct}`;
  }

  #start(struct: string): number {
    const first = beginnings[struct];
    return first ? this.bytesOf(first.struct) : 0;
  }

  #place(struct: string, name: string, bytes: number): number {
    let fields = this.places.get(struct);
    if (!fields) this.places.set(struct, (fields = new Map()));
    let at = fields.get(name);
    if (at === undefined) {
      at = this.free.get(struct) ?? this.#start(struct);
      if (at + bytes > this.bytesOf(struct)) throw new RangeError(`No room for one more field of struct ${struct}`);
      this.free.set(struct, at + bytes);
      fields.set(name, at);
    }
    return at;
  }

  #agree(symbol: string, size: number): void {
    const known = this.sizes.get(symbol);
    if (known !== undefined && known !== size)
      throw new RangeError(`${symbol} is used with ${size} bytes, and with ${known} elsewhere`);
    this.sizes.set(symbol, size);
  }
}
