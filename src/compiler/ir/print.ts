/** Readable text of a function, for tests and for errors of the compiler itself. */
import type { Block, Edge, IrFunction, KernelField, KernelNumber, Op, Terminator, Type, Value } from "./ir.ts";

/**
 * The whole function, one line a value:
 * ```
 * block1(v3: i32):
 *   v4: i32 = add v3, v2
 *   if ult v4, v1 goto block1(v4) else block2()
 * ```
 */
export function print(fn: IrFunction): string {
  const lines = [`function ${fn.name}`];
  for (const block of fn.blocks) lines.push(...printBlock(block));
  return lines.join("\n") + "\n";
}

function printBlock(block: Block): string[] {
  const parameters = block.parameters.map((value) => `${name(value)}: ${printType(value.type)}`);
  return [
    `block${block.id}(${parameters.join(", ")}):`,
    ...block.values.map((value) => {
      const text = printOp(value.op);
      return value.type.kind === "void" ? `  ${text}` : `  ${name(value)}: ${printType(value.type)} = ${text}`;
    }),
    `  ${printTerminator(block.terminator)}`,
  ];
}

export function printType(type: Type): string {
  switch (type.kind) {
    case "int":
      return `i${type.width}`;
    case "pointer":
      return `${type.memory}*${type.nullable ? "?" : ""}`;
    case "void":
      return "void";
  }
}

function name(value: Value): string {
  return `v${value.id}`;
}

function printOp(op: Op): string {
  switch (op.op) {
    case "const":
      return op.value < 10n ? `${op.value}` : `0x${op.value.toString(16)}`;
    case "parameter":
    case "context":
      return op.op;
    case "binary":
      return `${op.fn} ${name(op.left)}, ${name(op.right)}`;
    case "swap":
      return `swap${op.bits} ${name(op.value)}`;
    case "zeroExtend":
    case "truncate":
      return `${op.op} ${name(op.value)}`;
    case "signExtend":
      return `signExtend${op.from} ${name(op.value)}`;
    case "compare":
      return `compare ${op.fn} ${name(op.left)}, ${name(op.right)}`;
    case "load":
      return `load${op.size} ${address(op.base, op.offset, op.field && fieldName(op.field))}`;
    case "store":
      return `store${op.size} ${address(op.base, op.offset, op.field && fieldName(op.field))}, ${name(op.value)}`;
    case "atomicAdd":
    case "atomicFetchAdd":
      return `${op.op}${op.size} ${address(op.base, op.offset)}, ${name(op.value)}`;
    case "atomicCompareExchange":
      return `${op.op}${op.size} ${address(op.base, op.offset)}, ${name(op.expected)}, ${name(op.value)}`;
    case "pointerAdd":
      return `pointerAdd ${name(op.base)}, ${name(op.by)}`;
    case "fieldAddress":
      return `fieldAddress ${name(op.base)}, ${op.negative ? "-" : ""}${fieldName(op.field)}`;
    case "kernelNumber":
      return numberName(op.number);
    case "stack":
      return `stack ${op.size}`;
    case "map":
      return `map ${op.map}`;
    case "mapValue":
      return `mapValue ${op.map}+${op.offset}`;
    case "call":
      return `call ${op.helper}(${op.args.map(name).join(", ")})${op.effects === "none" ? "" : ` !${op.effects}`}`;
  }
}

function fieldName({ struct, field }: KernelField): string {
  return `${struct}.${field}`;
}

function numberName(number: KernelNumber): string {
  return number.kind === "type" ? `type ${number.struct}` : `${number.part} of ${fieldName(number)}`;
}

function address(base: Value, offset: number, field?: string): string {
  if (field !== undefined) return `[${name(base)}.${field}]`;
  return `[${name(base)}${offset === 0 ? "" : offset < 0 ? `${offset}` : `+${offset}`}]`;
}

function printEdge(edge: Edge): string {
  return `block${edge.block.id}(${Array.from(edge.args, (arg) => (arg ? name(arg) : "?")).join(", ")})`;
}

function printTerminator(terminator: Terminator | undefined): string {
  switch (terminator?.op) {
    case undefined:
      return "(no terminator)";
    case "jump":
      return `goto ${printEdge(terminator.to)}`;
    case "branch": {
      const { fn, left, right, then, otherwise } = terminator;
      return `if ${fn} ${name(left)}, ${name(right)} goto ${printEdge(then)} else ${printEdge(otherwise)}`;
    }
    case "check": {
      const { base, end, size, ok, fail } = terminator;
      return `check ${name(base)}+${size} <= ${name(end)} goto ${printEdge(ok)} else ${printEdge(fail)}`;
    }
    case "return":
      return `return ${name(terminator.value)}`;
  }
}
