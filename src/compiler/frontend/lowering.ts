/**
 * The state of one lowering: a chain's policies are lowered one after the other into one IR function. Expressions and
 * statements live in modules of their own; they share this object.
 */
import type ts from "#typescript";
import { Builder, type Variable } from "../ir/builder.ts";
import { int32, int64, type Block, type CompareFn, type Value } from "../ir/ir.ts";
import type { Base } from "../../policy/stack.ts";
import { integerSizes, type IntegerName } from "../../policy/types.ts";
import { CompileError, diagnose, type DiagnosticName } from "./diagnostics.ts";
import type { Emitter } from "./events.ts";
import type { Hook, StackHook } from "./hooks.ts";
import type { ParsedPacket } from "./views/packet.ts";
import type { PacketMemory } from "./packet-memory.ts";
import type { PolicyProgram } from "./program.ts";
import { bitsOf, describeValue, fits, isSigned, widthOf, type LanguageValue } from "./values.ts";

/** What a name stands for. */
export type Binding =
  | { readonly kind: "value"; readonly value: LanguageValue }
  | { readonly kind: "variable"; readonly variable: Variable; readonly type: IntegerName | "boolean" };

/** Where `return` goes in the function being lowered. */
export type ReturnTarget =
  | { readonly kind: "nothing"; readonly exit: Block }
  | { readonly kind: "condition"; readonly yes: Block; readonly no: Block }
  | {
      readonly kind: "variable";
      readonly exit: Block;
      readonly variable: Variable;
      readonly type: IntegerName | "boolean";
    };

export interface Loop {
  readonly breakTo: Block;
  /** Absent for a switch, which only breaks. */
  readonly continueTo?: Block;
}

/** What the policy being lowered does besides computing: filled in by the chain. */
export interface Effects {
  /** Where it is noted what the policy did so far. */
  readonly notes: readonly Variable[];
  /** Notes that the policy changed something. */
  acted(): void;
  /** Counts that the policy could not act. */
  cannot(reason: string): void;
}

export class Lowering {
  readonly builder: Builder;
  readonly hook: Hook | StackHook;
  readonly program: PolicyProgram;
  readonly bindings = new Map<ts.Symbol, Binding>();
  /** Functions being inlined, outermost first. */
  readonly functions: ts.Node[] = [];
  readonly returns: ReturnTarget[] = [];
  readonly loops: Loop[] = [];
  /** Constants outside of the policy that are being evaluated. */
  readonly constants = new Set<ts.Node>();
  /** Whether a loop over options is being lowered. */
  iterating = false;
  /** Whether parsing has led here on many ways that nothing has made one yet: see `refreshPacket`. */
  manyWays = false;
  effects: Effects | undefined;
  /** Stack memory for the arguments of map helpers, filled anew before each call: a program has 512 bytes in all. */
  scratch!: { readonly flowKey: Value; readonly record: Value; readonly zeroKey: Value; readonly hash: Value };
  /** The packet, in programs that have one. */
  packet: ParsedPacket | undefined;
  /** Where per-packet state is. */
  packetMemory!: PacketMemory;
  /** Where a scheduler is asked for a subflow: of which connection, and whether it has chosen one. */
  choice: { readonly connection: Value; readonly made: Variable } | undefined;
  /** The socket or the connection that an in-stack policy is called for. */
  subject: Value | undefined;
  /** What an in-stack policy builds on. */
  base: Base | undefined;
  /** How the policy being lowered emits events. */
  emitter!: Emitter;

  constructor(builder: Builder, program: PolicyProgram, hook: Hook | StackHook) {
    this.builder = builder;
    this.program = program;
    this.hook = hook;
  }

  fail(name: DiagnosticName, node: ts.Node, ...args: readonly (string | number)[]): never {
    throw new CompileError([diagnose(name, this.program.position(node), ...args)]);
  }

  /** Values made from now on come from `node`. */
  at(node: ts.Node): void {
    this.builder.position = this.program.position(node);
  }

  symbol(node: ts.Node): ts.Symbol | undefined {
    return this.program.symbol(node);
  }

  // Control flow

  /** Goes on in `block` when anything leads there; seals it. Returns false when nothing does. */
  enter(block: Block): boolean {
    this.builder.seal(block);
    this.builder.enter(block);
    return this.builder.isReached(block);
  }

  // Constants and integers

  integer(type: IntegerName, value: Value): LanguageValue {
    return { kind: "integer", type, value };
  }

  constant(type: IntegerName, value: bigint): LanguageValue {
    return this.integer(type, this.builder.const(value, widthOf(type)));
  }

  boolean(fn: CompareFn, left: Value, right: Value): LanguageValue {
    return { kind: "boolean", value: this.builder.compare(fn, left, right) };
  }

  /** An integer as `type`, where no bit can be lost. */
  coerce(value: LanguageValue, type: IntegerName, node: ts.Node): Value {
    if (value.kind === "literal") {
      if (!fits(value.value, type)) this.fail("outOfRange", node, value.value.toString(), type);
      return this.builder.const(value.value, widthOf(type));
    }
    if (value.kind !== "integer") return this.fail("notInteger", node, describeValue(value));
    const known = value.oneOf?.every((one) => fits(one, type)) ?? false;
    if (!known && !widens(value.type, type)) this.fail("narrowing", node, value.type, type);
    return this.resize(value.value, value.type, type);
  }

  /** An integer as `type`, keeping the low bits: what the conversions u8(…) to i64(…) do. */
  convert(value: LanguageValue, type: IntegerName, node: ts.Node): Value {
    if (value.kind === "literal") return this.builder.const(wrap(value.value, type), widthOf(type));
    if (value.kind === "static") return this.builder.const(value.value ? 1 : 0, widthOf(type));
    if (value.kind === "boolean") return widthOf(type) === 64 ? this.builder.zeroExtend(value.value) : value.value;
    if (value.kind !== "integer") return this.fail("notInteger", node, describeValue(value));
    return this.resize(value.value, value.type, type);
  }

  /** Widens by the source's sign, narrows by keeping low bits. */
  resize(value: Value, from: IntegerName, to: IntegerName): Value {
    const { builder } = this;
    const [source, target] = [widthOf(from), widthOf(to)];
    let result = value;
    if (source === 32 && target === 64)
      result = isSigned(from) ? builder.signExtend(32, value) : builder.zeroExtend(value);
    else if (source === 64 && target === 32) result = builder.truncate(value);
    return integerSizes[to] < integerSizes[from] ? this.wrapTo(result, to) : result;
  }

  /** Clears the bits above a small type. */
  wrapTo(value: Value, type: IntegerName): Value {
    const bits = bitsOf(type);
    return bits < 32 ? this.builder.binary("and", value, this.builder.const((1n << BigInt(bits)) - 1n)) : value;
  }

  /** Both operands as one type: the wider one; literals take the other's. */
  unify(left: LanguageValue, right: LanguageValue, node: ts.Node): { type: IntegerName; left: Value; right: Value } {
    for (const side of [left, right])
      if (side.kind !== "integer" && side.kind !== "literal") this.fail("notInteger", node, describeValue(side));
    const type = commonType(left, right);
    if (!type) return this.fail("mixedTypes", node, describeValue(left), describeValue(right));
    return { type, left: this.coerce(left, type, node), right: this.coerce(right, type, node) };
  }

  // Variables

  variable(name: string, type: IntegerName | "boolean"): Variable {
    return { name, type: type !== "boolean" && widthOf(type) === 64 ? int64 : int32 };
  }

  readVariable(variable: Variable, type: IntegerName | "boolean"): LanguageValue {
    const value = this.builder.read(variable);
    return type === "boolean" ? { kind: "boolean", value } : { kind: "integer", type, value };
  }

  /** A value as what a variable of `type` holds. */
  asType(value: LanguageValue, type: IntegerName | "boolean", node: ts.Node): Value {
    return type === "boolean" ? this.asBoolean(value, node) : this.coerce(value, type, node);
  }

  /** A boolean as 0 or 1. */
  asBoolean(value: LanguageValue, node: ts.Node): Value {
    if (value.kind === "static") return this.builder.const(value.value ? 1 : 0);
    if (value.kind !== "boolean") return this.fail("notBoolean", node, describeValue(value));
    return value.value;
  }
}

/** A 32-bit integer, or 1 where it is 0. */
export function orOne({ builder }: Lowering, value: Value): Value {
  return builder.binary("add", value, builder.compare("eq", value, builder.const(0)));
}

/** Where a policy's turn ends at once, for what cannot happen but the verifier wants to see dealt with: no selector matches. */
export function endOfTurn({ returns: [turn] }: Lowering): Block {
  return turn.kind === "condition" ? turn.no : turn.exit;
}

/** A pointer that is always one; the verifier wants to see the policy's turn end if it were not. */
export function goOnWith(lowering: Lowering, pointer: Value, otherwise?: Block): void {
  if (pointer.type.kind === "pointer" && !pointer.type.nullable) return;
  const { builder } = lowering;
  const found = builder.block();
  builder.branch("ne", pointer, builder.const(0, 64), found, otherwise ?? endOfTurn(lowering));
  lowering.enter(found);
}

/** The type of an integer constant where nothing else says: u32 if it fits, or the next that does. */
export function literalType(...values: readonly bigint[]): IntegerName {
  const types = ["u32", "i32", "u64", "i64"] as const;
  return types.find((type) => values.every((value) => fits(value, type))) ?? "u64";
}

function wrap(value: bigint, type: IntegerName): bigint {
  return isSigned(type) ? BigInt.asIntN(bitsOf(type), value) : BigInt.asUintN(bitsOf(type), value);
}

function widens(from: IntegerName, to: IntegerName): boolean {
  if (isSigned(from) === isSigned(to)) return integerSizes[from] <= integerSizes[to];
  return isSigned(to) && integerSizes[from] < integerSizes[to];
}

/** The type that two integers are combined as: the one that holds all values of both, and any for two literals. */
export function commonType(left: LanguageValue, right: LanguageValue): IntegerName | undefined {
  if (left.kind === "integer" && right.kind === "integer") {
    if (widens(left.type, right.type)) return right.type;
    return widens(right.type, left.type) ? left.type : undefined;
  }
  if (left.kind === "integer") return left.type;
  return right.kind === "integer" ? right.type : "u64";
}
