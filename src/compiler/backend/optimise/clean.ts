/** Tidies the graph: unreachable blocks, parameters that are always one value, jumps to jumps, blocks in a row. */
import { evaluateCompare } from "../../ir/evaluate.ts";
import { int32, int64, type Block, type Edge, type IrFunction, type Value } from "../../ir/ir.ts";
import {
  blockCount,
  edgesOf,
  forEachOperand,
  forEachTerminatorOperand,
  replaceValues,
  reversePostorder,
  sameEdge,
  sameValue,
  valueCount,
} from "../../ir/visit.ts";

/** An edge is led past this many blocks at most, which also ends empty endless loops. */
const MAX_HOPS = 32;

/** Whether anything changed. */
export function cleanFlow(fn: IrFunction): boolean {
  let changed = false;
  for (;;) {
    const pruned = prune(fn);
    const simplified = simplifyParameters(fn);
    const threaded = new Threading(fn).run();
    if (threaded) prune(fn);
    const merged = mergeBlocks(fn);
    if (!pruned && !simplified && !threaded && !merged) return changed;
    changed = true;
  }
}

function prune(fn: IrFunction): boolean {
  const before = fn.blocks.length;
  fn.blocks = reversePostorder(fn);
  return fn.blocks.length !== before;
}

function incomingEdges(fn: IrFunction): Map<Block, { from: Block; edge: Edge }[]> {
  const incoming = new Map<Block, { from: Block; edge: Edge }[]>(fn.blocks.map((block) => [block, []]));
  for (const from of fn.blocks)
    for (const edge of edgesOf(from.terminator)) incoming.get(edge.block)!.push({ from, edge });
  return incoming;
}

function resolver(replacement: ReadonlyMap<Value, Value>): (value: Value) => Value {
  return (value) => {
    for (let next = replacement.get(value); next; next = replacement.get(next)) value = next;
    return value;
  };
}

function simplifyParameters(fn: IrFunction): boolean {
  const incoming = incomingEdges(fn);
  const replacement = new Map<Value, Value>();
  const resolve = resolver(replacement);
  let nextId = valueCount(fn);
  for (let changed = true; changed;) {
    changed = false;
    for (const block of fn.blocks) {
      block.parameters.forEach((parameter, i) => {
        if (replacement.has(parameter)) return;
        const args = incoming.get(block)!.map(({ edge }) => resolve(edge.args[i]));
        const others = args.filter((arg) => arg !== parameter);
        const [first] = others;
        if (!first || !others.every((arg) => sameValue(arg, first))) return;
        let value = first;
        if (others.some((arg) => arg !== first)) {
          // Equal constants from several places: one of its own here.
          value = { id: nextId++, type: first.type, op: first.op };
          block.values.unshift(value);
        }
        replacement.set(parameter, value);
        changed = true;
      });
    }
  }
  if (replacement.size === 0) return false;
  for (const block of fn.blocks) {
    const keep = block.parameters.map((parameter) => !replacement.has(parameter));
    if (keep.every(Boolean)) continue;
    for (const { edge } of incoming.get(block)!) edge.args = edge.args.filter((_, i) => keep[i]);
    block.parameters.splice(0, Infinity, ...block.parameters.filter((_, i) => keep[i]));
  }
  replaceValues(fn, resolve);
  return true;
}

/** Leads edges past blocks that only decide something known, or nothing. */
class Threading {
  readonly #fn: IrFunction;
  /** Block id -> 1 if something defined there is used elsewhere. */
  readonly #escapes: Uint8Array;
  readonly #returns = new Map<string, Block>();
  #nextValue: number;
  #nextBlock: number;
  #changed = false;

  constructor(fn: IrFunction) {
    this.#fn = fn;
    this.#nextValue = valueCount(fn);
    this.#nextBlock = blockCount(fn);
    this.#escapes = findEscapes(fn, this.#nextBlock);
    for (const block of fn.blocks) {
      const { terminator } = block;
      if (terminator?.op !== "return" || block.parameters.length > 0 || this.#escapes[block.id]) continue;
      // A constant from elsewhere would not be there for others that come to this block.
      if (!block.values.every(isConstant) || !block.values.includes(terminator.value)) continue;
      const key = keyOf(terminator.value);
      if (!this.#returns.has(key)) this.#returns.set(key, block);
    }
  }

  run(): boolean {
    for (const block of this.#fn.blocks.slice()) {
      const { terminator } = block;
      for (const edge of edgesOf(terminator)) for (let hops = 0; hops < MAX_HOPS && this.#advance(block, edge);) hops++;
      if (terminator?.op === "branch" && sameEdge(terminator.then, terminator.otherwise)) {
        block.terminator = { op: "jump", to: terminator.then };
        this.#changed = true;
      } else if (terminator?.op === "jump") this.#returnAtOnce(block, terminator.to);
    }
    return this.#changed;
  }

  /** Moves `edge` one block further; false if it has to stay. */
  #advance(from: Block, edge: Edge): boolean {
    const { block } = edge;
    if (this.#escapes[block.id] || !block.values.every(isConstant)) return false;
    const substitute = (value: Value): Value => {
      const index = block.parameters.indexOf(value);
      return index === -1 ? value : edge.args[index];
    };
    const { terminator } = block;
    let next: Edge | undefined;
    if (terminator?.op === "jump") next = terminator.to;
    else if (terminator?.op === "branch") {
      const left = substitute(terminator.left);
      const right = substitute(terminator.right);
      if (left.op.op !== "const" || right.op.op !== "const" || left.type.kind !== "int") return false;
      const holds = evaluateCompare(terminator.fn, left.type.width, left.op.value, right.op.value);
      next = holds ? terminator.then : terminator.otherwise;
    } else if (terminator?.op === "return") {
      const value = substitute(terminator.value);
      if (!isConstant(value)) return false;
      const target = this.#returnOf(value);
      if (target === block) return false;
      next = { block: target, args: [] };
    }
    if (!next || next.block === block) return false;
    const args = next.args.map((arg) => {
      const value = substitute(arg);
      return value !== arg || !block.values.includes(arg) ? value : this.#clone(arg, from);
    });
    edge.block = next.block;
    edge.args = args;
    this.#changed = true;
    return true;
  }

  #clone(constant: Value, into: Block): Value {
    const value: Value = { id: this.#nextValue++, type: constant.type, op: constant.op };
    into.values.push(value);
    return value;
  }

  /** The one block that returns a constant. */
  #returnOf(constant: Value): Block {
    const key = keyOf(constant);
    let block = this.#returns.get(key);
    if (!block) {
      block = { id: this.#nextBlock++, parameters: [], values: [], terminator: undefined };
      block.terminator = { op: "return", value: this.#clone(constant, block) };
      this.#fn.blocks.push(block);
      this.#returns.set(key, block);
    }
    return block;
  }

  /** A jump to a block that only returns its parameter is that return. */
  #returnAtOnce(block: Block, { block: target, args }: Edge): void {
    const end = target.terminator;
    if (end?.op !== "return" || target.values.length > 0) return;
    const index = target.parameters.indexOf(end.value);
    if (index === -1) return;
    block.terminator = { op: "return", value: args[index] };
    this.#changed = true;
  }
}

function findEscapes(fn: IrFunction, count: number): Uint8Array {
  const escapes = new Uint8Array(count);
  const home: Block[] = [];
  for (const block of fn.blocks) for (const value of [...block.parameters, ...block.values]) home[value.id] = block;
  for (const block of fn.blocks) {
    const use = (value: Value): void => {
      if (home[value.id] !== block) escapes[home[value.id].id] = 1;
    };
    for (const value of block.values) forEachOperand(value.op, use);
    forEachTerminatorOperand(block.terminator, use);
    for (const edge of edgesOf(block.terminator)) edge.args.forEach(use);
  }
  return escapes;
}

function isConstant(value: Value): boolean {
  return value.op.op === "const" && (value.type === int32 || value.type === int64 || value.type.kind === "int");
}

function keyOf(constant: Value): string {
  const width = constant.type.kind === "int" ? constant.type.width : 0;
  return constant.op.op === "const" ? `${width},${constant.op.value}` : "";
}

/** Appends a block to its only predecessor where that does nothing but go there. */
function mergeBlocks(fn: IrFunction): boolean {
  const incoming = incomingEdges(fn);
  const replacement = new Map<Value, Value>();
  const gone = new Set<Block>();
  for (const block of fn.blocks) {
    if (gone.has(block)) continue;
    while (block.terminator?.op === "jump") {
      const { block: next, args } = block.terminator.to;
      if (next === block || next === fn.entry || incoming.get(next)!.length !== 1) break;
      next.parameters.forEach((parameter, i) => replacement.set(parameter, args[i]));
      block.values.push(...next.values);
      block.terminator = next.terminator;
      if (next.terminatorPosition) block.terminatorPosition = next.terminatorPosition;
      gone.add(next);
    }
  }
  if (gone.size === 0) return false;
  fn.blocks = fn.blocks.filter((block) => !gone.has(block));
  if (replacement.size > 0) replaceValues(fn, resolver(replacement));
  return true;
}
