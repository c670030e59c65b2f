/** Walks over operands and edges, so that passes need not know every operation. */
import type { Block, Edge, IrFunction, Op, Terminator, Value } from "./ir.ts";

/** Calls `f` for every operand of `op`, in order. */
export function forEachOperand(op: Op, f: (value: Value) => void): void {
  switch (op.op) {
    case "binary":
    case "compare":
      f(op.left);
      f(op.right);
      return;
    case "swap":
    case "zeroExtend":
    case "signExtend":
    case "truncate":
      f(op.value);
      return;
    case "load":
      f(op.base);
      return;
    case "store":
    case "atomicAdd":
    case "atomicFetchAdd":
      f(op.base);
      f(op.value);
      return;
    case "atomicCompareExchange":
      f(op.base);
      f(op.expected);
      f(op.value);
      return;
    case "pointerAdd":
      f(op.base);
      f(op.by);
      return;
    case "fieldAddress":
      f(op.base);
      return;
    case "call":
      for (const arg of op.args) f(arg);
      return;
    case "const":
    case "kernelNumber":
    case "parameter":
    case "context":
    case "stack":
    case "map":
    case "mapValue":
      return;
  }
}

/** `op` with every operand replaced by `f` of it; `op` itself where nothing changes. */
export function mapOperands(op: Op, f: (value: Value) => Value): Op {
  switch (op.op) {
    case "binary":
    case "compare": {
      const left = f(op.left);
      const right = f(op.right);
      return left === op.left && right === op.right ? op : { ...op, left, right };
    }
    case "swap":
    case "zeroExtend":
    case "signExtend":
    case "truncate": {
      const value = f(op.value);
      return value === op.value ? op : { ...op, value };
    }
    case "load":
    case "fieldAddress": {
      const base = f(op.base);
      return base === op.base ? op : { ...op, base };
    }
    case "store":
    case "atomicAdd":
    case "atomicFetchAdd": {
      const base = f(op.base);
      const value = f(op.value);
      return base === op.base && value === op.value ? op : { ...op, base, value };
    }
    case "atomicCompareExchange": {
      const [base, expected, value] = [f(op.base), f(op.expected), f(op.value)];
      const same = base === op.base && expected === op.expected && value === op.value;
      return same ? op : { ...op, base, expected, value };
    }
    case "pointerAdd": {
      const base = f(op.base);
      const by = f(op.by);
      return base === op.base && by === op.by ? op : { ...op, base, by };
    }
    case "call": {
      const args = op.args.map(f);
      return args.every((arg, i) => arg === op.args[i]) ? op : { ...op, args };
    }
    case "const":
    case "kernelNumber":
    case "parameter":
    case "context":
    case "stack":
    case "map":
    case "mapValue":
      return op;
  }
}

/** The edges that leave a block, in the terminator's order. */
export function edgesOf(terminator: Terminator | undefined): readonly Edge[] {
  switch (terminator?.op) {
    case "jump":
      return [terminator.to];
    case "branch":
      return [terminator.then, terminator.otherwise];
    case "check":
      return [terminator.ok, terminator.fail];
    case "return":
    case undefined:
      return [];
  }
}

/** Calls `f` for the terminator's own operands; the arguments on its edges are not among them. */
export function forEachTerminatorOperand(terminator: Terminator | undefined, f: (value: Value) => void): void {
  switch (terminator?.op) {
    case "branch":
      f(terminator.left);
      f(terminator.right);
      return;
    case "check":
      f(terminator.base);
      f(terminator.end);
      return;
    case "return":
      f(terminator.value);
      return;
    case "jump":
    case undefined:
      return;
  }
}

/** `terminator` with its own operands replaced (edges are kept: their arguments are changed in place). */
export function mapTerminatorOperands(terminator: Terminator, f: (value: Value) => Value): Terminator {
  switch (terminator.op) {
    case "branch": {
      const left = f(terminator.left);
      const right = f(terminator.right);
      return left === terminator.left && right === terminator.right ? terminator : { ...terminator, left, right };
    }
    case "check": {
      const base = f(terminator.base);
      const end = f(terminator.end);
      return base === terminator.base && end === terminator.end ? terminator : { ...terminator, base, end };
    }
    case "return": {
      const value = f(terminator.value);
      return value === terminator.value ? terminator : { op: "return", value };
    }
    case "jump":
      return terminator;
  }
}

/** Replaces values everywhere in the function. */
export function replaceValues(fn: IrFunction, f: (value: Value) => Value): void {
  for (const block of fn.blocks) {
    for (const value of block.values) value.op = mapOperands(value.op, f);
    if (!block.terminator) continue;
    block.terminator = mapTerminatorOperands(block.terminator, f);
    for (const edge of edgesOf(block.terminator)) {
      for (let i = 0; i < edge.args.length; i++) edge.args[i] = f(edge.args[i]);
    }
  }
}

/** One more than the largest value id in use. */
export function valueCount(fn: IrFunction): number {
  let count = 0;
  for (const block of fn.blocks) {
    for (const value of block.parameters) count = Math.max(count, value.id + 1);
    for (const value of block.values) count = Math.max(count, value.id + 1);
  }
  return count;
}

/** One more than the largest block id in use. */
export function blockCount(fn: IrFunction): number {
  return fn.blocks.reduce((count, block) => Math.max(count, block.id + 1), 0);
}

/** How often each value (by id) is an operand or an edge argument. */
export function countUses(fn: IrFunction): Uint32Array {
  const uses = new Uint32Array(valueCount(fn));
  const count = (value: Value): void => {
    uses[value.id]++;
  };
  for (const block of fn.blocks) {
    for (const value of block.values) forEachOperand(value.op, count);
    forEachTerminatorOperand(block.terminator, count);
    for (const edge of edgesOf(block.terminator)) edge.args.forEach(count);
  }
  return uses;
}

/** Whether the operation must stay even if nobody uses its value. */
export function hasSideEffect(op: Op): boolean {
  if (op.op === "call") return op.effects !== "none";
  return op.op === "store" || isAtomic(op);
}

/** Reads and writes memory at once. */
export function isAtomic(op: Op): op is Op & { op: "atomicAdd" | "atomicFetchAdd" | "atomicCompareExchange" } {
  return op.op === "atomicAdd" || op.op === "atomicFetchAdd" || op.op === "atomicCompareExchange";
}

/** Whether two edges lead to the same block with the same arguments. */
export function sameEdge(a: Edge, b: Edge): boolean {
  return a.block === b.block && a.args.every((arg, i) => sameValue(arg, b.args[i]));
}

/** Whether two values are one, or constants that equal each other. */
export function sameValue(a: Value, b: Value): boolean {
  if (a === b) return true;
  if (a.op.op !== "const" || b.op.op !== "const" || a.op.value !== b.op.value) return false;
  return a.type.kind === "int" && b.type.kind === "int" && a.type.width === b.type.width;
}

/** Blocks that can be reached from the entry, in reverse postorder. */
export function reversePostorder(fn: IrFunction): Block[] {
  const seen = new Uint8Array(blockCount(fn));
  const order: Block[] = [];
  const stack: { block: Block; edges: readonly Edge[]; next: number }[] = [];
  const visit = (block: Block): void => {
    seen[block.id] = 1;
    stack.push({ block, edges: edgesOf(block.terminator), next: 0 });
  };
  visit(fn.entry);
  while (stack.length > 0) {
    const top = stack.at(-1)!;
    // Last edge first, so that the first edge's side comes first in reverse postorder.
    const edge = top.edges[top.edges.length - 1 - top.next++];
    if (!edge) {
      order.push(top.block);
      stack.pop();
    } else if (!seen[edge.block.id]) visit(edge.block);
  }
  return order.reverse();
}
