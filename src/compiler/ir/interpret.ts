/** Runs IR as it stands: the reference that emitted code and optimised functions are tested against. */
import { evaluateBinary, evaluateCompare, evaluateSwap } from "./evaluate.ts";
import type { Block, Edge, IrFunction, Op, Value } from "./ir.ts";

/** Byte-addressed memory; every pointer is an address in it. */
export interface Machine {
  readonly contextAddress: bigint;
  mapAddress(map: string): bigint;
  /** Gives `size` bytes of stack. */
  allocate(size: number): bigint;
  load(address: bigint, size: number): bigint;
  store(address: bigint, size: number, value: bigint): void;
  call(helper: number | string, args: readonly bigint[]): bigint;
}

/** The function's result as a bit pattern. Fails after `maxBlocks` blocks. */
export function interpret(fn: IrFunction, machine: Machine, maxBlocks = 100_000): bigint {
  const values = new Map<Value, bigint>();
  const valueOf = (value: Value): bigint => {
    const known = values.get(value);
    if (known === undefined) throw new Error(`v${value.id} was never computed`);
    return known;
  };
  const follow = (edge: Edge): Block => {
    const args = edge.args.map(valueOf);
    edge.block.parameters.forEach((parameter, i) => values.set(parameter, args[i]));
    return edge.block;
  };
  let block = fn.entry;
  for (let steps = 0; steps < maxBlocks; steps++) {
    for (const value of block.values) values.set(value, compute(value, valueOf, machine));
    const end = block.terminator!;
    switch (end.op) {
      case "jump":
        block = follow(end.to);
        break;
      case "branch": {
        const holds = evaluateCompare(end.fn, widthOf(end.left), valueOf(end.left), valueOf(end.right));
        block = follow(holds ? end.then : end.otherwise);
        break;
      }
      case "check":
        block = follow(valueOf(end.base) + BigInt(end.size) <= valueOf(end.end) ? end.ok : end.fail);
        break;
      case "return":
        return valueOf(end.value);
    }
  }
  throw new Error(`${fn.name} does not end`);
}

function widthOf(value: Value): 32 | 64 {
  return value.type.kind === "int" ? value.type.width : 64;
}

function compute(value: Value, valueOf: (value: Value) => bigint, machine: Machine): bigint {
  const op: Op = value.op;
  switch (op.op) {
    case "const":
      return op.value;
    case "parameter":
      throw new Error("A parameter has no operation");
    case "context":
      return machine.contextAddress;
    case "binary":
      return evaluateBinary(op.fn, widthOf(value), valueOf(op.left), valueOf(op.right));
    case "swap":
      return evaluateSwap(op.bits, valueOf(op.value));
    case "zeroExtend":
      return valueOf(op.value);
    case "signExtend":
      return BigInt.asUintN(64, BigInt.asIntN(op.from, valueOf(op.value)));
    case "truncate":
      return BigInt.asUintN(32, valueOf(op.value));
    case "compare":
      return evaluateCompare(op.fn, widthOf(op.left), valueOf(op.left), valueOf(op.right)) ? 1n : 0n;
    case "load":
      return machine.load(valueOf(op.base) + BigInt(op.offset), op.size);
    case "store":
      machine.store(valueOf(op.base) + BigInt(op.offset), op.size, BigInt.asUintN(op.size * 8, valueOf(op.value)));
      return 0n;
    case "atomicAdd":
    case "atomicFetchAdd": {
      const address = valueOf(op.base) + BigInt(op.offset);
      const before = machine.load(address, op.size);
      machine.store(address, op.size, BigInt.asUintN(op.size * 8, before + valueOf(op.value)));
      return before;
    }
    case "atomicCompareExchange": {
      const address = valueOf(op.base) + BigInt(op.offset);
      const before = machine.load(address, op.size);
      if (before === valueOf(op.expected)) machine.store(address, op.size, valueOf(op.value));
      return before;
    }
    case "pointerAdd":
      return BigInt.asUintN(64, valueOf(op.base) + valueOf(op.by));
    case "fieldAddress":
    case "kernelNumber":
      throw new Error(`${op.op} has a value in a kernel only`);
    case "stack":
      return machine.allocate(op.size);
    case "map":
      return machine.mapAddress(op.map);
    case "mapValue":
      return machine.mapAddress(op.map) + BigInt(op.offset);
    case "call":
      return machine.call(op.helper, op.args.map(valueOf));
  }
}
