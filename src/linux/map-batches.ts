/** Batch operations on maps, and one operation per entry where the kernel has no batches for the map's type. */
import { tryBpf } from "./bpf-syscall.ts";
import { errnos } from "./ffi.ts";
import { ENOTSUPP, explainRefusal } from "./kernel-error.ts";

/** The part of a map that batches need. */
export interface BatchMap {
  readonly fd: number;
  readonly label: string;
  readonly keySize: number;
  readonly transferSize: number;
  readonly maxEntries: number;
}

interface Entry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** Entries per call: large enough to make the call's cost vanish, small enough for its buffers. */
const BATCH_ENTRIES = 1024;
/** The cursor is a key for arrays and 4 bytes for hashes. */
const SMALLEST_CURSOR = 8;

/** All entries of a map. */
export function readMany(map: BatchMap, oneByOne: () => Entry[]): Entry[] {
  const entries: Entry[] = [];
  let capacity = Math.min(BATCH_ENTRIES, map.maxEntries);
  let inBatch: Uint8Array | null = null;
  for (;;) {
    const outBatch: Uint8Array = new Uint8Array(Math.max(map.keySize, SMALLEST_CURSOR));
    const keys = new Uint8Array(capacity * map.keySize);
    const values = new Uint8Array(capacity * map.transferSize);
    const outcome = tryBpf("mapLookupBatch", { mapFd: map.fd, inBatch, outBatch, keys, values, count: capacity });
    if (outcome.errno === errnos["ENOSPC"]) {
      // A bucket of a hash holds more entries than fit: nothing was read, and the cursor stays where it was.
      capacity *= 2;
      continue;
    }
    const done = outcome.errno === errnos["ENOENT"];
    if (outcome.result < 0 && !done) {
      if (inBatch === null && refused(outcome.errno)) return oneByOne();
      throw explainRefusal(`read ${map.label}`, outcome.errno);
    }
    const count = outcome.read("count");
    for (let index = 0; index < count; index++) {
      entries.push({ key: slot(keys, index, map.keySize), value: slot(values, index, map.transferSize) });
    }
    if (done) return entries;
    inBatch = outBatch;
  }
}

/** Writes entries whose values are laid out as the kernel takes them. */
export function updateMany(map: BatchMap, entries: readonly Entry[], one: (entry: Entry) => void): void {
  for (let start = 0; start < entries.length; start += BATCH_ENTRIES) {
    const part = entries.slice(start, start + BATCH_ENTRIES);
    const keys = concatenate(part, (entry) => entry.key, map.keySize);
    const values = concatenate(part, (entry) => entry.value, map.transferSize);
    const outcome = tryBpf("mapUpdateBatch", { mapFd: map.fd, keys, values, count: part.length });
    if (outcome.result === 0) continue;
    if (!refused(outcome.errno)) {
      throw explainRefusal(`write ${part.length} entries of ${map.label}`, outcome.errno, {
        reasons: { E2BIG: `the map holds at most ${map.maxEntries} entries` },
      });
    }
    part.forEach(one);
  }
}

/** Removes entries. A batch stops at a key that has none, so what follows it goes one by one. */
export function deleteMany(map: BatchMap, keys: readonly Uint8Array[], one: (key: Uint8Array) => void): void {
  for (let start = 0; start < keys.length; start += BATCH_ENTRIES) {
    const part = keys.slice(start, start + BATCH_ENTRIES);
    const joined = concatenate(part, (key) => key, map.keySize);
    const outcome = tryBpf("mapDeleteBatch", { mapFd: map.fd, keys: joined, count: part.length });
    if (outcome.result === 0) continue;
    if (!refused(outcome.errno) && outcome.errno !== errnos["ENOENT"]) {
      throw explainRefusal(`delete ${part.length} entries of ${map.label}`, outcome.errno);
    }
    part.forEach(one);
  }
}

function refused(errno: number): boolean {
  return errno === ENOTSUPP || errno === errnos["EINVAL"] || errno === errnos["EOPNOTSUPP"];
}

function slot(bytes: Uint8Array, index: number, size: number): Uint8Array {
  return bytes.slice(index * size, (index + 1) * size);
}

function concatenate<T>(items: readonly T[], bytesOf: (item: T) => Uint8Array, size: number): Uint8Array {
  const all = new Uint8Array(items.length * size);
  items.forEach((item, index) => all.set(bytesOf(item), index * size));
  return all;
}
