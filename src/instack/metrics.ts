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

/** Fields that are numbers as they lie in memory. */
const plain = [
  "cwnd",
  "ssthresh",
  "mss",
  "srttUs",
  "rttVarUs",
  "minRttUs",
  "inFlight",
  "delivered",
  "lost",
  "retransmissions",
  "queuedBytes",
  "notSentBytes",
  "bytesSent",
  "bytesAcked",
  "bytesRetransmitted",
] as const satisfies readonly (keyof SubflowMetrics)[];
const rates = ["pacingRate", "maxPacingRate", "deliveryRate"] as const;

const noLimit = 0xffff_ffff_ffff_ffffn;

/** An open view of all slots. Close it when done. */
export class MetricsReader implements Disposable {
  readonly #mapped: MappedArray;
  readonly #view: DataView;
  readonly #count: number;
  readonly #at: Readonly<Record<string, number>>;
  readonly #size: number;

  /** @throws InStackError when nothing on this host measures */
  constructor() {
    const found = openSharedState(subflowMetrics.host!);
    if (!found)
      throw new InStackError(
        "Cannot find metrics: nothing in this host's stack measures. emptcp stack start registers what does",
      );
    try {
      this.#mapped = found.map.mapIntoMemory();
    } finally {
      found.map.close();
    }
    const { bytes } = this.#mapped;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#count = found.slot.maxEntries;
    this.#size = found.slot.size;
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
      const metrics = this.#record(start);
      if (metrics) found.push(metrics);
    }
    return found.sort((a, b) => a.token - b.token || a.id - b.id);
  }

  /**
   * A record as it is now; undefined for one that changed hands meanwhile, or that nothing was written to yet. Its fields may
   * be of two updates, a millisecond or so apart.
   */
  #record(start: number): SubflowMetrics | undefined {
    const owner = () => this.#view.getBigUint64(start + this.#at["owner"], true);
    const before = owner();
    const { buffer, byteOffset } = this.#view;
    const copy = new Uint8Array(buffer, byteOffset + start, this.#size).slice();
    if (before === 0n || owner() !== before) return undefined;
    const metrics = decode(new DataView(copy.buffer), this.#at);
    return metrics.updatedUs === 0n ? undefined : metrics;
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

const kinds = Object.keys(strategy) as Strategy["kind"][];
const states = Object.keys(congestionState) as (keyof typeof congestionState)[];

function decode(view: DataView, at: Readonly<Record<string, number>>): SubflowMetrics {
  const long = (name: string) => view.getBigUint64(at[name], true);
  const number = (name: string) => (name.startsWith("bytes") ? Number(long(name)) : view.getUint32(at[name], true));
  const end = (name: "local" | "remote"): SocketAddress => ({
    address: addressText(new Uint8Array(view.buffer, at[`${name}0`], 16)),
    port: view.getUint16(at[`${name}Port`], true),
  });
  const kind = view.getUint8(at["kind"]);
  const state = view.getUint8(at["caState"]);
  return {
    token: view.getUint32(at["owner"] + 4, true),
    id: view.getUint32(at["owner"], true),
    local: end("local"),
    remote: end("remote"),
    strategy: kinds.find((one) => strategy[one] === kind) ?? "none",
    caState: states.find((one) => congestionState[one] === state) ?? "open",
    backup: view.getUint8(at["backup"]) !== 0,
    ...(Object.fromEntries(plain.map((name) => [name, number(name)])) as Record<(typeof plain)[number], number>),
    ...(Object.fromEntries(
      rates.map((name) => [name, long(name) === noLimit ? Infinity : Number(long(name))]),
    ) as Record<(typeof rates)[number], number>),
    sndNxt: long("sndNxt"),
    sndUna: long("sndUna"),
    updatedUs: long("updatedUs"),
  };
}
