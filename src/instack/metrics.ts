/** What congestion control `emptcp` sees of its subflows, read from memory that the kernel writes: no system call per read. */
import { openSharedState } from "../chain/host-state.ts";
import type { StateSlot } from "../compiler/layout.ts";
import { addressText, type MappedArray, type SocketAddress } from "../linux/index.ts";
import { strategy, subflowMetrics } from "../policies/strategies.ts";
import { congestionState } from "../policy/stack.ts";
import { InStackError } from "./errors.ts";
import type { Strategy } from "./strategies.ts";

/** One subflow, as it was at most a millisecond before its last ACK. */
export interface SubflowMetrics {
  /** Of the connection, on this host. */
  readonly token: number;
  /** The number of the subflow in its connection, from 1. */
  readonly id: number;
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  /** The strategy in force. */
  readonly strategy: Strategy["kind"];
  readonly caState: keyof typeof congestionState;
  readonly backup: boolean;
  /** Packets of `mss` bytes. */
  readonly cwnd: number;
  readonly ssthresh: number;
  readonly mss: number;
  /** µs; 0 before the first sample. */
  readonly srttUs: number;
  readonly rttVarUs: number;
  readonly minRttUs: number;
  /** Packets. */
  readonly inFlight: number;
  /** Packets, in all. */
  readonly delivered: number;
  readonly lost: number;
  readonly retransmissions: number;
  /** Bytes of memory that wait to be sent or acknowledged. */
  readonly queuedBytes: number;
  readonly notSentBytes: number;
  /** Bytes per second. Infinity where there is no limit. */
  readonly pacingRate: number;
  readonly maxPacingRate: number;
  readonly deliveryRate: number;
  readonly bytesSent: number;
  readonly bytesAcked: number;
  readonly bytesRetransmitted: number;
  /** Data sequence numbers of the connection. */
  readonly sndNxt: bigint;
  readonly sndUna: bigint;
  /** µs, on the clock of the policy language's `now()`. */
  readonly updatedUs: bigint;
}

/** What of a subflow never changes, and where its slot begins. */
interface Known {
  readonly start: number;
  readonly ends: Pick<SubflowMetrics, "token" | "id" | "local" | "remote">;
}

/** An open view of all slots. Close it when done. */
export class MetricsReader implements Disposable {
  readonly #mapped: MappedArray;
  readonly #view: DataView;
  readonly #count: number;
  readonly #at: Readonly<Record<string, number>>;
  /** By owner: those that were read. */
  readonly #known = new Map<bigint, Known>();

  /** @throws InStackError when nothing on this host measures */
  constructor() {
    const found = openSharedState(subflowMetrics.host!);
    if (!found)
      throw new InStackError(
        "Cannot find metrics: nothing in this host's stack measures. emptcp stack start registers what does",
      );
    const missing = Object.keys(subflowMetrics.fields).filter(
      (name) => !found.slot.fields.some((one) => one.name === name),
    );
    try {
      if (missing.length > 0)
        throw new InStackError(
          `Cannot read metrics: another version of emptcp measures, without ${missing.join(", ")}. Start it again with this one`,
        );
      this.#mapped = found.map.mapIntoMemory();
    } finally {
      found.map.close();
    }
    const { bytes } = this.#mapped;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#count = found.slot.maxEntries;
    this.#at = offsetsOf(found.slot);
  }

  /** All subflows that are measured, by connection; those of one connection, where a token is given. */
  read(token?: number): SubflowMetrics[] {
    const found: SubflowMetrics[] = [];
    for (let index = 0; index < this.#count; index++) {
      const start = index * this.#mapped.stride;
      // The token is the high half: the low one, the id, is never 0 in a slot that is taken.
      if (this.#view.getUint32(start + this.#at["owner"], true) === 0) continue;
      if (token !== undefined && this.#view.getUint32(start + this.#at["owner"] + 4, true) !== token) continue;
      const metrics = this.#record(start, this.#ownerAt(start));
      if (metrics) found.push(metrics);
    }
    return found.sort((a, b) => a.token - b.token || a.id - b.id);
  }

  /** One subflow; undefined when it is not measured. Finding it takes long once: where it is found is remembered. */
  subflow(token: number, id: number): SubflowMetrics | undefined {
    const owner = (BigInt(token) << 32n) | BigInt(id);
    const known = this.#known.get(owner);
    if (known && this.#ownerAt(known.start) === owner) return this.#record(known.start, owner);
    this.#known.delete(owner);
    for (let index = 0; index < this.#count; index++) {
      const start = index * this.#mapped.stride;
      if (this.#ownerAt(start) === owner) return this.#record(start, owner);
    }
    return undefined;
  }

  #ownerAt(start: number): bigint {
    return this.#view.getBigUint64(start + this.#at["owner"], true);
  }

  /**
   * A record as it is now; undefined for one that changed hands meanwhile, or that nothing was written to yet. Its fields may
   * be of two updates, a millisecond or so apart.
   */
  #record(start: number, owner: bigint): SubflowMetrics | undefined {
    let known = this.#known.get(owner);
    if (known?.start !== start) {
      known = { start, ends: readEnds(this.#view, start, this.#at) };
      // Ports and addresses may be written later than the owner, but not later than anything else.
      if (this.#view.getBigUint64(start + this.#at["updatedUs"], true) === 0n) return undefined;
      this.#known.set(owner, known);
    }
    const metrics = decode(this.#view, start, this.#at, known);
    return this.#ownerAt(start) === owner && metrics.updatedUs !== 0n ? metrics : undefined;
  }

  close(): void {
    this.#mapped.unmap();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function offsetsOf({ fields }: StateSlot): Record<string, number> {
  return Object.fromEntries(fields.map(({ name, offset }) => [name, offset]));
}

/** By number. */
const kinds = Object.keys(strategy) as Strategy["kind"][];
const states = Object.keys(congestionState) as (keyof typeof congestionState)[];

function readEnds(view: DataView, start: number, at: Readonly<Record<string, number>>): Known["ends"] {
  const end = (name: "local" | "remote"): SocketAddress => ({
    address: addressText(new Uint8Array(view.buffer, view.byteOffset + start + at[`${name}0`], 16).slice()),
    port: view.getUint16(start + at[`${name}Port`], true),
  });
  const owner = start + at["owner"];
  return {
    token: view.getUint32(owner + 4, true),
    id: view.getUint32(owner, true),
    local: end("local"),
    remote: end("remote"),
  };
}

function decode(view: DataView, start: number, at: Readonly<Record<string, number>>, { ends }: Known): SubflowMetrics {
  const u32 = (offset: number) => view.getUint32(start + offset, true);
  const u64 = (offset: number) => u32(offset) + 2 ** 32 * u32(offset + 4);
  const rate = (offset: number) => (u32(offset + 4) === 0xffff_ffff ? Infinity : u64(offset));
  const kind = view.getUint8(start + at["kind"]);
  const state = view.getUint8(start + at["caState"]);
  return {
    token: ends.token,
    id: ends.id,
    local: ends.local,
    remote: ends.remote,
    strategy: kinds[kind] ?? "none",
    caState: states[state] ?? "open",
    backup: view.getUint8(start + at["backup"]) !== 0,
    cwnd: u32(at["cwnd"]),
    ssthresh: u32(at["ssthresh"]),
    mss: u32(at["mss"]),
    srttUs: u32(at["srttUs"]),
    rttVarUs: u32(at["rttVarUs"]),
    minRttUs: u32(at["minRttUs"]),
    inFlight: u32(at["inFlight"]),
    delivered: u32(at["delivered"]),
    lost: u32(at["lost"]),
    retransmissions: u32(at["retransmissions"]),
    queuedBytes: u32(at["queuedBytes"]),
    notSentBytes: u32(at["notSentBytes"]),
    pacingRate: rate(at["pacingRate"]),
    maxPacingRate: rate(at["maxPacingRate"]),
    deliveryRate: rate(at["deliveryRate"]),
    bytesSent: u64(at["bytesSent"]),
    bytesAcked: u64(at["bytesAcked"]),
    bytesRetransmitted: u64(at["bytesRetransmitted"]),
    sndNxt: view.getBigUint64(start + at["sndNxt"], true),
    sndUna: view.getBigUint64(start + at["sndUna"], true),
    updatedUs: view.getBigUint64(start + at["updatedUs"], true),
  };
}
