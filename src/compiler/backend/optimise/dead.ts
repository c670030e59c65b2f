/** Removes values nobody needs. */
import type { IrFunction, Value } from "../../ir/ir.ts";
import { edgesOf, forEachOperand, forEachTerminatorOperand, hasSideEffect, valueCount } from "../../ir/visit.ts";

/** Keeps what side effects and decisions depend on, drops the rest, parameters included. */
export function removeDead(fn: IrFunction): boolean {
  const live = new Uint8Array(valueCount(fn));
  const work: Value[] = [];
  const need = (value: Value): void => {
    if (live[value.id]) return;
    live[value.id] = 1;
    work.push(value);
  };
  /** Parameter -> what the edges pass for it. */
  const passed = new Map<Value, Value[]>();
  for (const block of fn.blocks) {
    for (const value of block.values) if (hasSideEffect(value.op)) need(value);
    forEachTerminatorOperand(block.terminator, need);
    for (const edge of edgesOf(block.terminator)) {
      edge.args.forEach((arg, i) => {
        const parameter = edge.block.parameters[i];
        const args = passed.get(parameter);
        if (args) args.push(arg);
        else passed.set(parameter, [arg]);
      });
    }
  }
  while (work.length > 0) {
    const value = work.pop()!;
    forEachOperand(value.op, need);
    if (value.op.op === "parameter") passed.get(value)?.forEach(need);
  }

  let changed = false;
  const isLive = (value: Value): boolean => live[value.id] === 1;
  for (const block of fn.blocks) {
    for (const edge of edgesOf(block.terminator)) {
      edge.args = edge.args.filter((_, i) => isLive(edge.block.parameters[i]));
    }
  }
  for (const block of fn.blocks) {
    for (const list of [block.parameters, block.values]) {
      const kept = list.filter(isLive);
      if (kept.length === list.length) continue;
      list.splice(0, Infinity, ...kept);
      changed = true;
    }
  }
  return changed;
}
