/** Merges bounds checks: an early one asks for all that a later one on the same way would ask for. */
import type { Block, Edge, IrFunction, Terminator } from "../../ir/ir.ts";
import { edgesOf, hasSideEffect, sameEdge } from "../../ir/visit.ts";

type Check = Terminator & { op: "check" };

/**
 * Widens a check to a later, larger one if until then nothing happens that anyone could see and every other way out leads
 * where the check's failure leads. The later check is then known to succeed.
 */
export function widenChecks(fn: IrFunction): boolean {
  const predecessorCount = new Map<Block, number>();
  for (const block of fn.blocks) {
    for (const { block: next } of edgesOf(block.terminator)) {
      predecessorCount.set(next, (predecessorCount.get(next) ?? 0) + 1);
    }
  }
  let changed = false;
  for (const block of fn.blocks) {
    const { terminator } = block;
    if (terminator?.op !== "check") continue;
    const size = reach(terminator, predecessorCount);
    if (size === terminator.size) continue;
    block.terminator = { ...terminator, size };
    changed = true;
  }
  return changed;
}

/** The largest size asked for on the only way on from `check`. */
function reach(check: Check, predecessorCount: ReadonlyMap<Block, number>): number {
  let { size } = check;
  let edge: Edge | undefined = check.ok;
  while (edge && predecessorCount.get(edge.block) === 1) {
    const { values, terminator } = edge.block;
    if (values.some((value) => hasSideEffect(value.op))) break;
    edge = onward(terminator, check.fail);
    if (terminator?.op !== "check" || !edge) continue;
    if (terminator.base === check.base && terminator.end === check.end) size = Math.max(size, terminator.size);
  }
  return size;
}

/** The edge that does not lead to `fail`, if the other one does or there is only one. */
function onward(terminator: Terminator | undefined, fail: Edge): Edge | undefined {
  switch (terminator?.op) {
    case "jump":
      return terminator.to;
    case "branch":
      if (sameEdge(terminator.then, fail)) return terminator.otherwise;
      return sameEdge(terminator.otherwise, fail) ? terminator.then : undefined;
    case "check":
      return sameEdge(terminator.fail, fail) ? terminator.ok : undefined;
    default:
      return undefined;
  }
}
