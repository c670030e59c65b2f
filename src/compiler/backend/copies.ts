/** Copies that happen at once, one after the other. */

export interface Copy {
  readonly to: number;
  readonly from: number;
}

/**
 * Orders `copies` (whose targets are distinct) so that no source is overwritten before it was read; a cycle goes through
 * a register from `temporary`.
 */
export function copyInParallel(
  copies: readonly Copy[],
  temporary: () => number,
  copy: (to: number, from: number) => void,
): void {
  const sources = new Map<number, number>();
  const readers = new Map<number, number>();
  for (const { to, from } of copies) {
    if (to === from) continue;
    sources.set(to, from);
    readers.set(from, (readers.get(from) ?? 0) + 1);
  }
  const free = [...sources.keys()].filter((to) => !readers.has(to));
  const perform = (to: number, from: number): void => {
    copy(to, from);
    sources.delete(to);
    const left = readers.get(from)! - 1;
    readers.set(from, left);
    if (left === 0 && sources.has(from)) free.push(from);
  };
  while (sources.size > 0) {
    const to = free.pop();
    if (to !== undefined) {
      perform(to, sources.get(to)!);
      continue;
    }
    // Only cycles are left: save one register, let its readers read the copy.
    const [saved] = sources.keys() as Iterator<number, number> & Iterable<number>;
    const spare = temporary();
    copy(spare, saved);
    for (const [target, from] of sources) if (from === saved) sources.set(target, spare);
    readers.set(spare, readers.get(saved)!);
    readers.set(saved, 0);
    free.push(saved);
  }
}
