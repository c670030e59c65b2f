/** Gives spill slots their place on the stack; slots that are never needed at the same time share one. */
import { forEachBit } from "./liveness.ts";
import { Effect, effects, successorsOf, type MachineFunction } from "./machine.ts";

const SLOT_BYTES = 8;

/** Sets the offsets of all loads and stores of slots, in place, and adds the space to `fn.stackSize`. */
export function placeSlots(fn: MachineFunction, slotCount: number): void {
  if (slotCount === 0) return;
  const conflicts = findConflicts(fn, slotCount);
  const partners = findPartners(fn, slotCount);
  const places = new Int32Array(slotCount);
  let placeCount = 0;
  for (let slot = 0; slot < slotCount; slot++) {
    const taken = new Set<number>();
    for (const other of conflicts[slot]) if (other < slot) taken.add(places[other]);
    // Slots between which a value is copied would best be one place.
    const wanted = partners[slot].find((other) => other < slot && !taken.has(places[other]));
    let place = wanted === undefined ? 0 : places[wanted];
    while (taken.has(place)) place++;
    places[slot] = place;
    placeCount = Math.max(placeCount, place + 1);
  }
  for (const block of fn.blocks) {
    for (const instruction of block.instructions) {
      if (instruction.slot === undefined) continue;
      instruction.offset = -(fn.stackSize + (places[instruction.slot] + 1) * SLOT_BYTES);
    }
  }
  fn.stackSize += placeCount * SLOT_BYTES;
}

/** Slot -> the slots that it is copied to or from, by a load and a store in a row. */
function findPartners(fn: MachineFunction, slotCount: number): number[][] {
  const partners = Array.from({ length: slotCount }, (): number[] => []);
  for (const { instructions } of fn.blocks) {
    for (let i = 1; i < instructions.length; i++) {
      const from = instructions[i - 1];
      const to = instructions[i];
      if (from.slot === undefined || to.slot === undefined) continue;
      if (!(effects[from.opcode] & Effect.writesDst) || effects[to.opcode] & Effect.writesDst) continue;
      if (from.dst !== to.src) continue;
      partners[from.slot].push(to.slot);
      partners[to.slot].push(from.slot);
    }
  }
  return partners;
}

/** Slot -> the slots that hold something needed when it is written, and the other way round. */
function findConflicts(fn: MachineFunction, slotCount: number): Set<number>[] {
  const { blocks } = fn;
  const words = (slotCount + 31) >>> 5;
  const conflicts = Array.from({ length: slotCount }, () => new Set<number>());
  const liveIn = new Map(blocks.map((block) => [block, new Uint32Array(words)]));
  const live = new Uint32Array(words);
  const scan = (final: boolean): boolean => {
    let changed = false;
    for (let b = blocks.length - 1; b >= 0; b--) {
      const block = blocks[b];
      live.fill(0);
      for (const next of successorsOf(block)) liveIn.get(next)!.forEach((word, w) => (live[w] |= word));
      for (let i = block.instructions.length - 1; i >= 0; i--) {
        const { slot, opcode } = block.instructions[i];
        if (slot === undefined) continue;
        const word = slot >>> 5;
        const bit = 1 << (slot & 31);
        if (effects[opcode] & Effect.writesDst) live[word] |= bit;
        else {
          live[word] &= ~bit;
          if (final) {
            forEachBit(live, 0, words, (other) => {
              conflicts[slot].add(other);
              conflicts[other].add(slot);
            });
          }
        }
      }
      const before = liveIn.get(block)!;
      for (let w = 0; w < words; w++) {
        if (before[w] === live[w]) continue;
        before[w] = live[w]!;
        changed = true;
      }
    }
    return changed;
  };
  while (scan(false));
  scan(true);
  return conflicts;
}
