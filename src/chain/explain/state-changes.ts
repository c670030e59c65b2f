/** What a packet changed in the memory of policies. */
import { flowKeySize, type StateSlot } from "../../compiler/index.ts";
import type { VmMap } from "../../bpf/vm/index.ts";
import { equalBytes, formatIpAddress, toHex } from "../../wire/index.ts";
import { readFields } from "../state.ts";
import { TouchedMap } from "./touched-map.ts";

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

const onlyKey = new Uint8Array(4);

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

/** Tells what became of the records of one state since it was last asked. */
export class StateWatcher {
  readonly #slot: StateSlot;
  readonly #policies: readonly string[];
  readonly #map: VmMap;
  #before: Uint8Array | undefined;

  /** `policies` are the names of those that keep the state. */
  constructor(slot: StateSlot, map: VmMap, policies: readonly string[]) {
    this.#slot = slot;
    this.#policies = policies;
    this.#map = map;
    this.changes();
  }

  changes(): StateChange[] {
    if (this.#map instanceof TouchedMap) {
      const map = this.#map;
      return map.takeTouched().flatMap(({ key, before }) => this.#compare(before, map.now(key), describeKey(key)));
    }
    const before = this.#before;
    this.#before = this.#map.lookup(onlyKey);
    return this.#compare(before, this.#before);
  }

  #compare(was: Uint8Array | undefined, is: Uint8Array | undefined, key?: string): StateChange[] {
    if (was === is || (was && is && equalBytes(was, is))) return [];
    return [
      {
        policies: this.#policies,
        state: this.#slot.name,
        ...(key !== undefined && { key }),
        ...(was && { before: readFields(was, this.#slot) }),
        ...(is && { after: readFields(is, this.#slot) }),
      },
    ];
  }
}
