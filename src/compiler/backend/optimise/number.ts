/**
 * Global value numbering in one walk over the dominator tree: operations are simplified, equal ones merged, loads answered
 * from earlier loads and stores, and branches and bounds checks whose outcome is known become jumps.
 */
import { analyseFlow, type Flow } from "../../ir/flow.ts";
import {
  int32,
  type Block,
  type Edge,
  type IrFunction,
  type Op,
  type Terminator,
  type Type,
  type Value,
} from "../../ir/ir.ts";
import { countUses, edgesOf, forEachOperand, mapOperands, mapTerminatorOperands, valueCount } from "../../ir/visit.ts";
import { negated } from "../../ir/evaluate.ts";
import { Facts } from "./facts.ts";
import { MemoryState } from "./memory.ts";
import { constantOf, simplify, simplifyCondition, type Rewriter } from "./simplify.ts";

/** Rules could undo each other; this many in a row are enough for anything sensible. */
const MAX_REWRITES = 16;
/** How deep operands are searched for what the verifier has learnt about them. */
const MAX_CONE = 6;

/** Whether anything changed. */
export function numberValues(fn: IrFunction): boolean {
  return new Numbering(fn).run();
}

class Numbering implements Rewriter {
  readonly #flow: Flow;
  readonly #uses: Uint32Array;
  readonly #memory: MemoryState;
  readonly #facts: Facts;
  readonly #leaders = new Map<string, Value>();
  /** Value id -> the block (index) it is defined in. */
  readonly #home: number[] = [];
  readonly #replacement = new Map<Value, Value>();
  readonly #addressing: Uint8Array;
  #nextId: number;
  #block = 0;
  #out: Value[] = [];
  #position: Value["position"];
  #changed = false;

  constructor(fn: IrFunction) {
    this.#flow = analyseFlow(fn);
    this.#uses = countUses(fn);
    this.#memory = new MemoryState(this.#flow);
    this.#facts = new Facts(this.#flow);
    this.#nextId = valueCount(fn);
    this.#addressing = findAddressing(fn, this.#nextId);
  }

  run(): boolean {
    const stack = [0];
    while (stack.length > 0) {
      const b = stack.pop()!;
      this.#visit(this.#flow.order[b], b);
      stack.push(...this.#flow.dominated[b]);
    }
    for (const block of this.#flow.order) {
      for (const edge of edgesOf(block.terminator)) edge.args = edge.args.map((arg) => this.#resolve(arg));
    }
    return this.#changed;
  }

  uses(value: Value): number {
    return this.#uses[value.id] ?? 0;
  }

  make(op: Op, type: Type): Value {
    return this.#number(op, type);
  }

  #resolve = (value: Value): Value => {
    for (let next = this.#replacement.get(value); next; next = this.#replacement.get(next)) value = next;
    return value;
  };

  #visit(block: Block, b: number): void {
    this.#block = b;
    this.#memory.enter(b);
    this.#learn(block, b);
    for (const parameter of block.parameters) this.#home[parameter.id] = b;
    this.#out = [];
    for (const value of block.values) {
      this.#position = value.position;
      const result = this.#number(mapOperands(value.op, this.#resolve), value.type, value);
      if (result === value) continue;
      this.#replacement.set(value, result);
      this.#changed = true;
    }
    this.#position = block.terminatorPosition;
    this.#terminate(block);
    block.values.splice(0, Infinity, ...this.#out);
    this.#memory.leave(b);
  }

  /** What the way into the block says. */
  #learn(block: Block, b: number): void {
    const predecessors = this.#flow.predecessors[b];
    if (predecessors.length !== 1) return;
    const end = this.#flow.order[predecessors[0]].terminator!;
    if (end.op === "branch") this.#facts.assume(end.fn, end.left, end.right, end.then.block === block, b);
    if (end.op === "check" && end.ok.block === block) this.#facts.assumeChecked(end.base, end.end, end.size, b);
  }

  /** The value that `op` gives: `original` with a perhaps simpler operation, or another one made before. */
  #number(op: Op, type: Type, original?: Value): Value {
    for (let i = 0; i < MAX_REWRITES; i++) {
      const simpler = simplify(op, type, this);
      if (simpler === undefined) break;
      if ("id" in simpler) return simpler;
      op = simpler;
      this.#changed = true;
    }
    if (op.op === "load" && !op.fresh) {
      const known = this.#forward(op, type);
      if (known) return known;
    }
    const key = keyOf(op, type);
    if (key !== undefined) {
      const leader = this.#leaders.get(key);
      if (leader && this.#mayReplace(leader, op, original)) return leader;
    }
    const value = original ?? { id: this.#nextId++, type, op, ...(this.#position && { position: this.#position }) };
    value.op = op;
    this.#out.push(value);
    this.#home[value.id] = this.#block;
    if (key !== undefined) this.#leaders.set(key, value);
    this.#memory.write(op);
    if (op.op === "load" && !op.fresh) this.#memory.remember(op, value, this.#block);
    if (op.op === "store") this.#memory.remember(op, op.value, this.#block);
    return value;
  }

  #forward(op: Op & { op: "load" }, type: Type): Value | undefined {
    const value = this.#memory.find(op, this.#block);
    if (!value) return undefined;
    if (value.op.op === "load" && value.op.size === op.size && sameType(value.type, type)) return value;
    if (type.kind !== "int" || value.type.kind !== "int")
      return sameType(value.type, type) && op.size === 8 ? value : undefined;
    if (op.size === 8) return value.type.width === 64 ? value : undefined;
    const low = value.type.width === 64 ? this.make({ op: "truncate", value }, int32) : value;
    if (op.size === 4) return low;
    const mask = this.make({ op: "const", value: op.size === 1 ? 0xffn : 0xffffn }, int32);
    return this.make({ op: "binary", fn: "and", left: low, right: mask }, int32);
  }

  /** Whether an equal value can stand in here; not if it was made before a comparison bounded what it is made of. */
  #mayReplace(leader: Value, op: Op, original: Value | undefined): boolean {
    const home = this.#home[leader.id];
    if (home === this.#block) return true;
    if (!this.#flow.dominates(home, this.#block)) return false;
    if (!original || !this.#addressing[original.id]) return true;
    return !this.#isConeRefined(op, home, MAX_CONE);
  }

  #isConeRefined(op: Op, from: number, depth: number): boolean {
    let refined = false;
    forEachOperand(op, (operand) => {
      if (refined || operand.type.kind !== "int" || operand.op.op === "const") return;
      refined =
        this.#facts.isRefinedBetween(operand, from, this.#block) ||
        (depth > 0 && operand.op.op !== "load" && this.#isConeRefined(operand.op, from, depth - 1));
    });
    return refined;
  }

  #terminate(block: Block): void {
    const before = block.terminator!;
    const end = mapTerminatorOperands(before, this.#resolve);
    block.terminator = end.op === "branch" ? this.#branch(end) : end.op === "check" ? this.#check(end) : end;
  }

  #branch(end: Terminator & { op: "branch" }): Terminator {
    const condition = simplifyCondition({ fn: end.fn, left: end.left, right: end.right, inverted: false }, this);
    if (typeof condition === "boolean") return this.#jump(condition ? end.then : end.otherwise);
    let { fn, left, right, inverted } = condition;
    const decided = this.#facts.decide(fn, left, right, this.#block);
    if (decided !== undefined) return this.#jump(decided !== inverted ? end.then : end.otherwise);
    let { then, otherwise } = end;
    const opposite = negated[fn];
    if (inverted && opposite) fn = opposite;
    else if (inverted) [then, otherwise] = [otherwise, then];
    if (fn === end.fn && left === end.left && right === end.right) return end;
    this.#changed = true;
    return { op: "branch", fn, left, right, then, otherwise };
  }

  #check(end: Terminator & { op: "check" }): Terminator {
    let { base, size } = end;
    while (base.op.op === "pointerAdd") {
      const by = constantOf(base.op.by);
      if (by === undefined || by > 0xffffn) break;
      size += Number(by);
      base = base.op.base;
    }
    if (this.#facts.checkedSize(base, end.end, this.#block) >= size) return this.#jump(end.ok);
    if (base === end.base) return end;
    this.#changed = true;
    return { ...end, base, size };
  }

  #jump(to: Edge): Terminator {
    this.#changed = true;
    return { op: "jump", to };
  }
}

/** Values that decide where memory is accessed, for which the verifier wants to know bounds. */
function findAddressing(fn: IrFunction, count: number): Uint8Array {
  const found = new Uint8Array(count);
  const work: Value[] = [];
  const add = (value: Value): void => {
    if (value.type.kind !== "int" || found[value.id]) return;
    found[value.id] = 1;
    work.push(value);
  };
  for (const block of fn.blocks) {
    for (const { op, id } of block.values) {
      if (op.op === "pointerAdd") {
        found[id] = 1;
        add(op.by);
      } else if (op.op === "call") op.args.forEach(add);
    }
  }
  while (work.length > 0) {
    const { op } = work.pop()!;
    if (op.op !== "load") forEachOperand(op, add);
  }
  return found;
}

function sameType(a: Type, b: Type): boolean {
  if (a.kind === "int" && b.kind === "int") return a.width === b.width;
  if (a.kind === "pointer" && b.kind === "pointer") return a.memory === b.memory && a.nullable === b.nullable;
  return a.kind === b.kind;
}

/** Equal keys mean equal results; undefined for operations that must not be merged. */
function keyOf(op: Op, type: Type): string | undefined {
  switch (op.op) {
    case "const":
      return `const ${type.kind === "int" ? type.width : "pointer"} ${op.value}`;
    case "binary":
      return `${op.fn} ${pair(op.left, op.right, commutes.has(op.fn))}`;
    case "compare":
      return `compare ${op.fn} ${pair(op.left, op.right, commutes.has(op.fn))}`;
    case "swap":
      return `swap${op.bits} ${op.value.id}`;
    case "zeroExtend":
    case "truncate":
      return `${op.op} ${op.value.id}`;
    case "signExtend":
      return `signExtend${op.from} ${op.value.id}`;
    case "pointerAdd":
      return `pointerAdd ${pair(op.base, op.by, false)}`;
    case "fieldAddress":
      return `fieldAddress ${op.base.id} ${op.negative ?? false} ${op.field.struct}.${op.field.field}`;
    case "kernelNumber":
      return `kernelNumber ${JSON.stringify(op.number)}`;
    case "context":
      return "context";
    case "map":
      return `map ${op.map}`;
    case "mapValue":
      return `mapValue ${op.map} ${op.offset}`;
    default:
      return undefined;
  }
}

const commutes: ReadonlySet<string> = new Set(["add", "mul", "and", "or", "xor", "eq", "ne", "test"]);

function pair(a: Value, b: Value, commutative: boolean): string {
  return commutative && a.id > b.id ? `${b.id},${a.id}` : `${a.id},${b.id}`;
}
