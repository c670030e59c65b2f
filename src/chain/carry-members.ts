/** Members of a set that gets another size, as they go on in a chain that takes the place of a running one. */
import type { ChainLayout } from "../compiler/index.ts";
import { openMap, type KernelMap } from "../linux/index.ts";
import { memberShape } from "./carry.ts";
import { ChainError } from "./errors.ts";

/**
 * Copies members between sets that differ in nothing but their size; those of the same size go on in the same map.
 * @param from the old chain's directory
 * @param maps of the new chain
 * @throws ChainError when there is no room for them
 */
export function carryMembers(
  { sets: old }: ChainLayout,
  { sets: next }: ChainLayout,
  from: string,
  maps: Readonly<Record<string, KernelMap>>,
): void {
  for (const slot of next) {
    const before = old.find((one) => one.name === slot.name);
    if (!before || before.maxEntries === slot.maxEntries || memberShape(before) !== memberShape(slot)) continue;
    const entries = entriesOf(`${from}/map_${before.map}`);
    if (entries.length > slot.maxEntries)
      throw new ChainError(
        `Cannot replace the chain: its set ${slot.name} has ${entries.length} members, and there would be room for ${slot.maxEntries}. ` +
          "Remove some (emptcp chain members), or give the set a larger max",
      );
    const map = maps[slot.map];
    map.deleteMany(map.entries().map(({ key }) => key));
    map.updateMany(entries);
  }
}

function entriesOf(pin: string): ReturnType<KernelMap["entries"]> {
  const map = openMap(pin);
  try {
    return map.entries();
  } finally {
    map.close();
  }
}
