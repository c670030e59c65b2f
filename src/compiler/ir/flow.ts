/**
 * The shape of a function's control flow: order, predecessors, dominators (K. Cooper, T. Harvey, K. Kennedy, "A Simple,
 * Fast Dominance Algorithm", 2001) and loop nesting. Blocks are named by their index in reverse postorder.
 */
import type { Block, IrFunction } from "./ir.ts";
import { blockCount, edgesOf, reversePostorder } from "./visit.ts";

export interface Flow {
  /** Reachable blocks in reverse postorder. */
  readonly order: readonly Block[];
  /** Block id -> index in `order`, -1 for unreachable blocks. */
  readonly index: Int32Array;
  readonly predecessors: readonly (readonly number[])[];
  /** Immediate dominator of each block; that of the entry is 0 itself. */
  readonly dominator: Int32Array;
  /** Children in the dominator tree. */
  readonly dominated: readonly (readonly number[])[];
  /** How many loops each block is in. */
  readonly loopDepth: Uint16Array;
  /** Whether block `a` dominates block `b`. */
  dominates(a: number, b: number): boolean;
}

export function analyseFlow(fn: IrFunction): Flow {
  const order = reversePostorder(fn);
  const count = order.length;
  const index = new Int32Array(blockCount(fn)).fill(-1);
  order.forEach((block, i) => {
    index[block.id] = i;
  });
  const predecessors: number[][] = order.map(() => []);
  order.forEach((block, i) => {
    for (const edge of edgesOf(block.terminator)) predecessors[index[edge.block.id]].push(i);
  });

  const dominator = new Int32Array(count).fill(-1);
  dominator[0] = 0;
  for (let changed = true; changed;) {
    changed = false;
    for (let b = 1; b < count; b++) {
      let common = -1;
      for (const p of predecessors[b]) {
        if (dominator[p] === -1) continue;
        let a = p;
        let c = common === -1 ? p : common;
        while (a !== c) {
          while (a > c) a = dominator[a]!;
          while (c > a) c = dominator[c]!;
        }
        common = a;
      }
      if (dominator[b] !== common) {
        dominator[b] = common;
        changed = true;
      }
    }
  }

  const dominated: number[][] = order.map(() => []);
  for (let b = 1; b < count; b++) dominated[dominator[b]].push(b);
  const enter = new Uint32Array(count);
  const leave = new Uint32Array(count);
  let clock = 0;
  const stack = [0];
  while (stack.length > 0) {
    const b = stack.pop()!;
    if (b < 0) {
      leave[~b] = ++clock;
      continue;
    }
    enter[b] = ++clock;
    stack.push(~b);
    for (const child of dominated[b]) stack.push(child);
  }
  const dominates = (a: number, b: number): boolean => enter[a] <= enter[b] && leave[a] >= leave[b];

  const loopDepth = new Uint16Array(count);
  for (let header = 0; header < count; header++) {
    const latches = predecessors[header].filter((p) => dominates(header, p));
    if (latches.length === 0) continue;
    const body = new Set([header, ...latches]);
    const work = latches.filter((latch) => latch !== header);
    while (work.length > 0) {
      for (const p of predecessors[work.pop()!]) {
        if (body.has(p)) continue;
        body.add(p);
        work.push(p);
      }
    }
    for (const b of body) loopDepth[b]++;
  }
  return { order, index, predecessors, dominator, dominated, loopDepth, dominates };
}
