/** Checks that a function is well formed; a pass that breaks one of these rules is wrong, whatever the program does. */
import { analyseFlow } from "./flow.ts";
import type { CompareFn, Edge, IrFunction, Op, Terminator, Type, Value } from "./ir.ts";
import { print, printType } from "./print.ts";
import { edgesOf, forEachOperand, forEachTerminatorOperand, valueCount } from "./visit.ts";

/** The IR is not well formed: a defect of the compiler, not of a policy. */
export class MalformedIrError extends Error {
  override readonly name = "MalformedIrError";
  /** The function as text. */
  readonly ir: string;

  constructor(reason: string, ir: string) {
    super(`Cannot compile: malformed IR: ${reason}\n${ir}`);
    this.ir = ir;
  }
}

/**
 * Checks single definitions, dominance, edge arguments, terminators and operand types of what can be reached.
 * Throws `MalformedIrError` with the printed function.
 */
export function verify(fn: IrFunction): void {
  const fail = (reason: string): never => {
    throw new MalformedIrError(reason, print(fn));
  };
  if (fn.blocks[0] !== fn.entry) fail("the entry is not the first block");
  const present = new Set(fn.blocks);
  if (present.size !== fn.blocks.length) fail("a block is listed twice");
  for (const block of fn.blocks) {
    for (const edge of edgesOf(block.terminator)) {
      if (!present.has(edge.block))
        fail(`block${block.id} leads to block${edge.block.id}, which is not in the function`);
    }
  }

  const flow = analyseFlow(fn);
  const definedIn = new Int32Array(valueCount(fn)).fill(-1);
  const position = new Int32Array(definedIn.length);
  const object: (Value | undefined)[] = [];
  flow.order.forEach((block, b) => {
    const define = (value: Value, at: number): void => {
      if (definedIn[value.id] !== -1) fail(`v${value.id} is defined twice`);
      definedIn[value.id] = b;
      position[value.id] = at;
      object[value.id] = value;
    };
    for (const value of block.parameters) {
      if (value.op.op !== "parameter") fail(`v${value.id} is not a parameter but listed as one`);
      define(value, -1);
    }
    block.values.forEach((value, at) => {
      if (value.op.op === "parameter") fail(`v${value.id} is a parameter among values`);
      define(value, at);
    });
    if (!block.terminator) fail(`block${block.id} has no terminator`);
  });
  if (fn.entry.parameters.length > 0) fail("the entry has parameters");
  if (flow.predecessors[0].length > 0) fail("the entry has predecessors");

  flow.order.forEach((block, b) => {
    const use = (value: Value, at: number, user: string): void => {
      if (!value) fail(`${user} misses an operand`);
      const home = definedIn[value.id];
      if (home === undefined || home === -1 || object[value.id] !== value)
        fail(`${user} uses v${value.id}, not defined`);
      const before = home === b ? position[value.id] < at : flow.dominates(home, b);
      if (!before) fail(`${user} uses v${value.id}, whose definition does not dominate it`);
    };
    block.values.forEach((value, at) => {
      forEachOperand(value.op, (operand) => use(operand, at, `v${value.id}`));
      const problem = checkOp(value.op, value.type);
      if (problem) fail(`v${value.id}: ${problem}`);
    });
    const terminator = block.terminator!;
    const user = `the terminator of block${block.id}`;
    forEachTerminatorOperand(terminator, (operand) => use(operand, block.values.length, user));
    const problem = checkTerminator(terminator);
    if (problem) fail(`${user}: ${problem}`);
    for (const edge of edgesOf(terminator)) {
      for (let i = 0; i < edge.args.length; i++) use(edge.args[i], block.values.length, user);
      const mismatch = checkEdge(edge);
      if (mismatch) fail(`${user}: ${mismatch}`);
    }
  });
}

function checkEdge(edge: Edge): string | undefined {
  const { parameters, id } = edge.block;
  if (edge.args.length !== parameters.length) {
    return `block${id} takes ${parameters.length} arguments, not ${edge.args.length}`;
  }
  for (const [i, arg] of edge.args.entries()) {
    const want = parameters[i].type;
    if (!assignable(arg.type, want)) return `v${arg.id} is ${printType(arg.type)}, block${id} wants ${printType(want)}`;
  }
  return undefined;
}

function checkTerminator(terminator: Terminator): string | undefined {
  switch (terminator.op) {
    case "branch":
      return checkComparison(terminator.fn, terminator.left, terminator.right);
    case "check":
      if (!isPointer(terminator.base, "packet")) return "the base is no packet pointer";
      if (!isPointer(terminator.end, "packetEnd")) return "the end is no packet end";
      return Number.isInteger(terminator.size) && terminator.size >= 0 ? undefined : "the size is not a natural number";
    case "return":
      return terminator.value.type.kind === "int" ? undefined : "the result is no integer";
    case "jump":
      return undefined;
  }
}

function checkOp(op: Op, type: Type): string | undefined {
  const wants = (width: 32 | 64): string | undefined =>
    type.kind === "int" && type.width === width ? undefined : `the result is ${printType(type)}, not i${width}`;
  switch (op.op) {
    case "const": {
      if (type.kind === "pointer") return undefined;
      if (type.kind !== "int") return "a constant is an integer";
      return op.value === BigInt.asUintN(type.width, op.value) ? undefined : "the constant does not fit its type";
    }
    case "binary":
      return sameInts(op.left, op.right) ?? (sameType(type, op.left.type) ? undefined : "the result has another type");
    case "swap":
      return wants(op.bits === 64 ? 64 : 32) ?? (isInt(op.value) ? undefined : "the operand is no integer");
    case "zeroExtend":
      return wants(64) ?? (isInt(op.value, 32) ? undefined : "the operand is not i32");
    case "signExtend":
      return wants(64) ?? (isInt(op.value) ? undefined : "the operand is no integer");
    case "truncate":
      return wants(32) ?? (isInt(op.value, 64) ? undefined : "the operand is not i64");
    case "compare":
      return wants(32) ?? checkComparison(op.fn, op.left, op.right);
    case "load":
      if (op.field && op.offset !== 0) return "a field's load has an offset";
      if (type.kind === "void") return "a load has a result";
      return op.base.type.kind === "pointer" ? undefined : "the base is no pointer";
    case "atomicCompareExchange":
    case "atomicFetchAdd":
      return wants(op.size === 8 ? 64 : 32) ?? (op.base.type.kind === "pointer" ? undefined : "the base is no pointer");
    case "store":
      if (op.field && op.offset !== 0) return "a field's store has an offset";
      return op.base.type.kind === "pointer" ? undefined : "the base is no pointer";
    case "atomicAdd":
      return op.base.type.kind === "pointer" ? undefined : "the base is no pointer";
    case "pointerAdd":
      if (op.base.type.kind !== "pointer") return "the base is no pointer";
      return isInt(op.by, 64) ? undefined : "the distance is not i64";
    case "fieldAddress":
      return isPointer(op.base, "kernel") ? undefined : "the base is no kernel pointer";
    case "kernelNumber":
      return wants(32);
    case "call":
      return op.args.length <= 5 ? undefined : "a helper takes five arguments at most";
    case "parameter":
    case "context":
    case "stack":
    case "map":
    case "mapValue":
      return undefined;
  }
}

/** Integers of one type, a pointer against null, two pointers into the kernel, or into a packet and to its end. */
function checkComparison(fn: CompareFn, left: Value, right: Value): string | undefined {
  if (left.type.kind !== "pointer") return sameInts(left, right);
  if (right.type.kind === "pointer") {
    const memories = `${left.type.memory} ${right.type.memory}`;
    return /^(packet(End)? packet(End)?|kernel kernel)$/.test(memories) ? undefined : `cannot compare ${memories}`;
  }
  const isNull = right.op.op === "const" && right.op.value === 0n && isInt(right, 64);
  const isEquality = fn === "eq" || fn === "ne";
  return isNull && isEquality ? undefined : "a pointer is compared with something other than null";
}

function isInt(value: Value, width?: 32 | 64): boolean {
  return value.type.kind === "int" && (width === undefined || value.type.width === width);
}

function isPointer(value: Value, memory: string): boolean {
  return value.type.kind === "pointer" && value.type.memory === memory;
}

function sameInts(left: Value, right: Value): string | undefined {
  if (!isInt(left) || !isInt(right)) return "an operand is no integer";
  return sameType(left.type, right.type) ? undefined : "the operands have different types";
}

function sameType(a: Type, b: Type): boolean {
  if (a.kind === "int" && b.kind === "int") return a.width === b.width;
  if (a.kind === "pointer" && b.kind === "pointer") return a.memory === b.memory && a.nullable === b.nullable;
  return a.kind === b.kind;
}

/** Pointers that are never null may go where nullable ones are expected, and a null constant may be any pointer. */
function assignable(from: Type, to: Type): boolean {
  if (from.kind === "pointer" && to.kind === "pointer") return from.memory === to.memory;
  return sameType(from, to);
}
