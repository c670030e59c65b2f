/**
 * The reading end of a BPF ring buffer (kernel/bpf/ringbuf.c), in shared memory: one page with the consumer's position, one
 * with the producer's, then the data, mapped twice in a row so that a record that wraps around is still contiguous.
 * Positions only grow; a record is an 8-byte header (length and two flag bits, page offset) and its data, 8-byte aligned.
 */
import { watch } from "./ffi.ts";
import type { KernelMap } from "./maps.ts";
import { mapMemory, pageSize, type Mapping } from "./memory.ts";

const HEADER_BYTES = 8;
/** The record is reserved but not yet submitted: nothing behind it may be read either. */
const BUSY = 1 << 31;
/** The record was given back unused. */
const DISCARD = 1 << 30;
const LENGTH = DISCARD - 1;

export interface RingBufferReader extends Disposable {
  /** Hands over what is there now and returns the number of records. */
  drain(): number;
  /** Stops reading; the map stays open. Safe to call twice. */
  close(): void;
}

/**
 * Reads a ring buffer on the event loop, until closed.
 * @param record gets each submitted record in order: a copy. What it throws reaches the caller of `drain()`, or nobody
 * (an uncaught exception) on the event loop; the record counts as read.
 * @throws TypeError for a map of another type; KernelError
 */
export function readRingBuffer(map: KernelMap, record: (data: Uint8Array) => void): RingBufferReader {
  if (map.type !== "ringBuffer") throw new TypeError(`Cannot read ${map.label}: it is not a ring buffer`);
  const size = map.maxEntries;
  const consumerPage = mapMemory(map.fd, 0, pageSize, true, `the consumer page of ${map.label}`);
  let producerPages: Mapping;
  try {
    producerPages = mapMemory(map.fd, pageSize, pageSize + 2 * size, false, `the data of ${map.label}`);
  } catch (error) {
    consumerPage.unmap();
    throw error;
  }
  const consumer = new BigUint64Array(consumerPage.buffer, 0, 1);
  const producer = new BigUint64Array(producerPages.buffer, 0, 1);
  const data = new Uint8Array(producerPages.buffer, pageSize, 2 * size);
  const headers = new Int32Array(producerPages.buffer, pageSize, size / Int32Array.BYTES_PER_ELEMENT);
  const state = { open: true };

  // Atomics order the reads: a position first, then the header, then the data behind it.
  function drain(): number {
    if (!state.open) throw new Error(`Cannot read ${map.label}: its reader is closed`);
    let position = Number(Atomics.load(consumer, 0));
    let count = 0;
    while (state.open && position < Number(Atomics.load(producer, 0))) {
      const offset = position % size;
      const header = Atomics.load(headers, offset / Int32Array.BYTES_PER_ELEMENT);
      if (header & BUSY) break;
      const length = header & LENGTH;
      const start = offset + HEADER_BYTES;
      // Copied and given back before anyone sees it: what the callback throws or closes cannot upset the ring.
      const bytes = header & DISCARD ? undefined : data.slice(start, start + length);
      position += (HEADER_BYTES + length + 7) & ~7;
      Atomics.store(consumer, 0, BigInt(position));
      if (!bytes) continue;
      count++;
      record(bytes);
    }
    return count;
  }

  const stop = watch(map.fd, () => {
    if (state.open) drain();
  });
  const close = () => {
    if (!state.open) return;
    state.open = false;
    stop();
    consumerPage.unmap();
    producerPages.unmap();
  };
  return { drain, close, [Symbol.dispose]: close };
}
