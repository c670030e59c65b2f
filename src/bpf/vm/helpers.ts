/** Helpers that every program type has: maps, time, tail calls, ring buffers. */
import { helpers as table, type Helper } from "../helpers.ts";
import { Errno, ProgramArrayMap, RingBufferMap, type VmMap } from "./maps.ts";
import { Block, region } from "./memory.ts";
import type { HelperFunction, Machine } from "./machine.ts";

/** Sources of what is not determined by program and packet. */
export interface Environment {
  /** Nanoseconds, for every clock. */
  readonly now: () => bigint;
  /** An unsigned 32-bit number. */
  readonly random: () => number;
}

/** A helper's implementation under its number. */
export function implement(helper: Helper, run: HelperFunction): [number, HelperFunction] {
  return [helper.number, run];
}

function address(machine: Machine, block: Block | undefined): bigint {
  return block ? machine.pointer(block.highIn(machine.space)) : 0n;
}

function key(machine: Machine, map: VmMap): Uint8Array {
  return machine.memory(2, map.spec.keySize, false);
}

function ringBuffer(machine: Machine, argument: number): RingBufferMap {
  const map = machine.map(argument);
  if (!(map instanceof RingBufferMap)) throw machine.error("call", `argument ${argument} is no ring buffer`);
  return map;
}

/** Reservations of the current run, and which ring buffer they belong to. */
class Reservations {
  private readonly open = new Map<Uint8Array, RingBufferMap>();

  reserve(machine: Machine): bigint {
    const map = ringBuffer(machine, 1);
    if (machine.wide(3) !== 0n) return 0n;
    const size = machine.wide(2);
    if (size > BigInt(map.spec.maxEntries)) return 0n;
    const bytes = map.reserve(Number(size));
    if (!bytes) return 0n;
    this.open.set(bytes, map);
    return machine.pointer(machine.space.add(region("ring buffer record", bytes)));
  }

  end(machine: Machine, state: "submitted" | "discarded"): number {
    const record = machine.wholeRegion(1);
    const map = this.open.get(record.bytes);
    if (!map) throw machine.error("call", "argument 1 is no reserved record");
    map.commit(record.bytes, state);
    this.open.delete(record.bytes);
    record.stale = `it was ${state}`;
    return 0;
  }

  /** Discards what a run left behind, and says whether there was anything. */
  clear(): boolean {
    const leaked = this.open.size > 0;
    for (const [bytes, map] of this.open) map.commit(bytes, "discarded");
    this.open.clear();
    return leaked;
  }
}

export interface CommonHelpers {
  readonly functions: readonly [number, HelperFunction][];
  /** To be called after a run; true when the program kept a ring buffer record. */
  readonly endRun: () => boolean;
}

/** Makes the helpers for one machine. `invalidate` makes packet pointers stale. */
export function commonHelpers(
  environment: Environment,
  trace: (text: string) => void,
  invalidate: (call: string) => void,
): CommonHelpers {
  const reservations = new Reservations();
  const now = () => BigInt.asUintN(64, environment.now());
  const functions = [
    implement(table.mapLookupElem, (machine) => {
      const map = machine.map(1);
      return address(machine, map.find(key(machine, map)));
    }),
    implement(table.mapUpdateElem, (machine) => {
      const map = machine.map(1);
      const flags = machine.wide(4);
      const value = machine.memory(3, map.spec.valueSize, false);
      return map.set(key(machine, map), value, flags > 4n ? 5 : Number(flags));
    }),
    implement(table.mapDeleteElem, (machine) => {
      const map = machine.map(1);
      return map.remove(key(machine, map));
    }),
    implement(table.mapLookupPercpuElem, (machine) => {
      const map = machine.map(1);
      return machine.unsigned(3) === 0 ? address(machine, map.find(key(machine, map))) : 0n;
    }),
    implement(table.tailCall, (machine) => {
      const map = machine.map(2);
      if (!(map instanceof ProgramArrayMap)) throw machine.error("call", "argument 2 is no program array");
      const target = map.program(machine.unsigned(3));
      invalidate("a tail call");
      return target ? machine.tailCall(target) : Errno.noEntry;
    }),
    ...[table.ktimeGetNs, table.ktimeGetBootNs, table.ktimeGetCoarseNs, table.ktimeGetTaiNs].map((helper) =>
      implement(helper, now),
    ),
    // The kernel's tick is 4 ms or 1 ms or 10 ms long; this one is 4 ms.
    implement(table.jiffies64, () => now() / 4_000_000n),
    implement(table.getPrandomU32, () => BigInt(environment.random() >>> 0)),
    implement(table.getSmpProcessorId, () => 0),
    implement(table.tracePrintk, (machine) => {
      const format = new TextDecoder().decode(machine.memory(1, machine.unsigned(2), false)).replace(/\0.*$/s, "");
      const text = formatTrace(format, [machine.wide(3), machine.wide(4), machine.wide(5)]);
      trace(text);
      return text.length;
    }),
    implement(table.spinLock, () => 0),
    implement(table.spinUnlock, () => 0),
    implement(table.ringbufReserve, (machine) => reservations.reserve(machine)),
    implement(table.ringbufSubmit, (machine) => reservations.end(machine, "submitted")),
    implement(table.ringbufDiscard, (machine) => reservations.end(machine, "discarded")),
    implement(table.ringbufOutput, (machine) => {
      const map = ringBuffer(machine, 1);
      const size = machine.unsigned(3);
      // BPF_RB_NO_WAKEUP and BPF_RB_FORCE_WAKEUP are the only flags.
      if ((machine.wide(4) & ~3n) !== 0n) return Errno.invalid;
      const data = machine.memory(2, size, false);
      const bytes = map.reserve(size);
      if (!bytes) return -11;
      bytes.set(data);
      map.commit(bytes, "submitted");
      return 0;
    }),
    implement(table.ringbufQuery, (machine) => {
      const map = ringBuffer(machine, 1);
      const flag = Number(machine.wide(2));
      return flag === 0 ? BigInt(map.available) : flag === 1 ? BigInt(map.spec.maxEntries) : 0n;
    }),
  ];
  return { functions, endRun: () => reservations.clear() };
}

/** Conversions of bpf_trace_printk: %d %i %u %x with l or ll, %c is not among them. */
function formatTrace(format: string, values: readonly bigint[]): string {
  let next = 0;
  return format.replace(/%(%|(ll|l)?([diuxX]))/g, (_, all: string, length: string | undefined, conversion: string) => {
    if (all === "%") return "%";
    const bits = length ? 64 : 32;
    const value = BigInt.asUintN(bits, values[next++] ?? 0n);
    if (conversion === "x") return value.toString(16);
    if (conversion === "X") return value.toString(16).toUpperCase();
    return (conversion === "u" ? value : BigInt.asIntN(bits, value)).toString();
  });
}
