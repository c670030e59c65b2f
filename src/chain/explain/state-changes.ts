/** What a packet changed in the memory of policies. */
import type { StateSlot } from "../../compiler/index.ts";
import type { VmMap } from "../../bpf/vm/index.ts";
import { formatIpAddress, toHex } from "../../wire/index.ts";
import { readFields } from "../state.ts";

export interface StateChange {
  /** The policies that keep it. */
  readonly policies: readonly string[];
  /** As its policy calls it. */
  readonly state: string;
  /** Whose record: a flow's ends, a number; absent for a shared record. */
  readonly key?: string;
  /** Absent where the record is new, or gone. */
  readonly before?: Readonly<Record<string, number>>;
  readonly after?: Readonly<Record<string, number>>;
}

type Snapshot = ReadonlyMap<string, readonly [key: Uint8Array, value: Uint8Array]>;

const flowKeySize = 40;

/** IPv4 addresses stand in keys as IPv6 ones. */
const plain = (address: string): string => address.replace(/^::ffff:(?=\d+\.)/, "");

function describeKey(key: Uint8Array): string {
  const view = new DataView(key.buffer, key.byteOffset, key.byteLength);
  if (key.length === flowKeySize) {
    const [local, remote] = [formatIpAddress(key.subarray(0, 16)), formatIpAddress(key.subarray(16, 32))];
    return `${plain(local)} port ${view.getUint16(32, true)} to ${plain(remote)} port ${view.getUint16(34, true)}`;
  }
  if (key.length > 8) return `0x${toHex(key)}`;
  return String(key.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n));
}

/** Compares the records of one state with what they were when it was last asked. */
export class StateWatcher {
  readonly slot: StateSlot;
  readonly #policies: readonly string[];
  readonly #map: VmMap;
  #known: Snapshot;

  /** `policies` are the names of those that keep the state. */
  constructor(slot: StateSlot, map: VmMap, policies: readonly string[]) {
    this.slot = slot;
    this.#policies = policies;
    this.#map = map;
    this.#known = this.#snapshot();
  }

  #snapshot(): Snapshot {
    return new Map([...this.#map.entries()].map((entry) => [toHex(entry[0]), entry]));
  }

  changes(): StateChange[] {
    const before = this.#known;
    const after = this.#snapshot();
    this.#known = after;
    return [...new Set([...before.keys(), ...after.keys()])].flatMap((id) => {
      const [was, is] = [before.get(id), after.get(id)];
      if (was && is && was[1].every((byte, i) => byte === is[1][i])) return [];
      const { name, kind } = this.slot;
      return [
        {
          policies: this.#policies,
          state: name,
          ...(kind === "shared" || kind === "perCpu" ? {} : { key: describeKey((is ?? was)![0]) }),
          ...(was && { before: readFields(was[1], this.slot) }),
          ...(is && { after: readFields(is[1], this.slot) }),
        },
      ];
    });
  }
}
