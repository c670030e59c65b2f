/** The words in the parameters map: read, and changed so that each packet meets all old ones or all new ones. */
import {
  parameterCopies,
  parameterSize,
  parameterWords,
  readParameter,
  writeParameter,
  type ParameterCopies,
  type ParameterSlot,
} from "../compiler/layout.ts";
import { waitForPrograms, type KernelMap } from "../linux/index.ts";

const onlyKey = new Uint8Array(4);
const barrier = new Int32Array(new SharedArrayBuffer(4));

export interface WordChange {
  readonly slot: ParameterSlot;
  readonly word: bigint;
}

/** The copies in a map; none in those of chains that were made when there was only one. */
function copiesIn(map: KernelMap, slots: readonly ParameterSlot[]): ParameterCopies | undefined {
  const words = parameterWords(slots);
  return map.valueSize > 8 * words ? parameterCopies(words) : undefined;
}

/** The words in force, in the order of the slots. */
export function readWords(map: KernelMap, slots: readonly ParameterSlot[]): bigint[] {
  const value = map.lookup(onlyKey)!;
  const copies = copiesIn(map, slots);
  const start = copies ? value[copies.number] * copies.stride : 0;
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  return slots.map(({ offset, type }) => readParameter(view, start + offset, parameterSize(type)));
}

function write(view: DataView, start: number, changes: readonly WordChange[]): void {
  for (const { slot, word } of changes) writeParameter(view, start + slot.offset, parameterSize(slot.type), word);
}

/** Changes words, in one step. Nobody else may write to the map meanwhile: the caller holds the chain's lock. */
export function changeWords(map: KernelMap, slots: readonly ParameterSlot[], changes: readonly WordChange[]): void {
  const value = map.lookup(onlyKey)!;
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  const copies = copiesIn(map, slots);
  if (!copies) {
    write(view, 0, changes);
    return map.update(onlyKey, value);
  }
  const { stride, number, written } = copies;
  if (value[written] === copies.copies - 1) {
    // The next copy may be the one with which a program began that is still at it.
    waitForPrograms();
    value[written] = 0;
  }
  const [now, next] = [value[number], (value[number] + 1) % copies.copies];
  value.copyWithin(next * stride, now * stride, (now + 1) * stride);
  write(view, next * stride, changes);
  value[written]++;
  map.update(onlyKey, value);
  // Whoever sees the number sees the words.
  Atomics.add(barrier, 0, 1);
  value[number] = next;
  map.update(onlyKey, value);
}
