/** Instruction selection: from IR in SSA form to machine instructions over virtual registers, without SSA. */
import type { JumpOpName } from "../../bpf/opcodes.ts";
import type { SourcePosition } from "../../bpf/instruction.ts";
import { mirrored } from "../ir/evaluate.ts";
import { analyseFlow } from "../ir/flow.ts";
import type { BinaryFn, Block, CompareFn, Edge, IrFunction, Op, Terminator, Value } from "../ir/ir.ts";
import { countUses, edgesOf, forEachOperand, forEachTerminatorOperand } from "../ir/visit.ts";
import { copyInParallel, type Copy } from "./copies.ts";
import { FIRST_VIRTUAL, machine, type MachineBlock, type MachineFunction, type MachineInstruction } from "./machine.ts";

const FRAME_POINTER = 10;
const commutative: ReadonlySet<BinaryFn> = new Set(["add", "mul", "and", "or", "xor"]);
const shifts: ReadonlySet<BinaryFn> = new Set(["shl", "lshr", "ashr"]);

/** The machine form of `fn`; what cannot be reached is left out. */
export function select(fn: IrFunction): MachineFunction {
  return new Selector(fn).run();
}

class Selector {
  readonly #fn: IrFunction;
  readonly #blocks: MachineBlock[] = [];
  readonly #blockOf = new Map<Block, MachineBlock>();
  readonly #uses: Uint32Array;
  /** Value id -> register, 0 where there is none yet. */
  readonly #registers: Int32Array;
  /** Value id -> 1 where a truncated value may keep the upper half of its source. */
  readonly #looseUpperHalf: Uint8Array;
  readonly #stackOffsets = new Map<Value, number>();
  #stackSize = 0;
  #nextRegister = FIRST_VIRTUAL;
  #current!: MachineBlock;
  #position: SourcePosition | undefined;

  constructor(fn: IrFunction) {
    this.#fn = fn;
    this.#uses = countUses(fn);
    this.#registers = new Int32Array(this.#uses.length);
    this.#looseUpperHalf = new Uint8Array(this.#uses.length);
  }

  run(): MachineFunction {
    const flow = analyseFlow(this.#fn);
    this.#findLooseTruncations(flow.order);
    flow.order.forEach((block, b) => {
      this.#blockOf.set(block, this.#newBlock(flow.loopDepth[b], block.terminatorPosition));
    });
    this.#current = this.#blockOf.get(this.#fn.entry)!;
    const contexts = flow.order.flatMap((block) => block.values.filter((value) => value.op.op === "context"));
    if (contexts.some((value) => this.#uses[value.id] > 0)) {
      const register = this.#nextRegister++;
      for (const value of contexts) this.#registers[value.id] = register;
      this.#push(machine.move(register, 1));
    }
    for (const block of flow.order) {
      this.#current = this.#blockOf.get(block)!;
      for (const value of block.values) {
        this.#position = value.position;
        this.#value(value);
      }
      this.#position = block.terminatorPosition;
      this.#terminator(block.terminator!);
    }
    return { blocks: this.#blocks, registerCount: this.#nextRegister, stackSize: this.#stackSize };
  }

  #newBlock(loopDepth: number, position: SourcePosition | undefined): MachineBlock {
    const block: MachineBlock = {
      instructions: [],
      condition: undefined,
      taken: undefined,
      otherwise: undefined,
      loopDepth,
      position,
    };
    this.#blocks.push(block);
    return block;
  }

  /** Truncations whose users all look at the low half only need no instruction. */
  #findLooseTruncations(order: readonly Block[]): void {
    const strict = new Uint8Array(this.#uses.length);
    const mark = (value: Value): void => {
      strict[value.id] = 1;
    };
    for (const block of order) {
      for (const { op, type } of block.values) {
        const low =
          (op.op === "binary" && type.kind === "int" && type.width === 32) ||
          (op.op === "swap" && op.bits < 64) ||
          op.op === "signExtend" ||
          (op.op === "compare" && !hasArithmeticForm(op));
        if (op.op === "store" && op.size < 8) mark(op.base);
        else if (!low) forEachOperand(op, mark);
      }
      if (block.terminator!.op !== "branch") forEachTerminatorOperand(block.terminator, mark);
      for (const edge of edgesOf(block.terminator)) edge.args.forEach(mark);
    }
    for (const block of order) {
      for (const value of block.values) {
        if (value.op.op === "truncate" && !strict[value.id]) this.#looseUpperHalf[value.id] = 1;
      }
    }
  }

  #push(instruction: MachineInstruction): void {
    const position = this.#position;
    this.#current.instructions.push(position ? { ...instruction, position } : instruction);
  }

  #register(value: Value): number {
    return (this.#registers[value.id] ||= this.#nextRegister++);
  }

  /** The register that holds `value`; constants and addresses of stack and maps are made anew for each use. */
  #use(value: Value): number {
    if (this.#isMadeOnUse(value)) {
      const register = this.#nextRegister++;
      this.#into(register, value);
      return register;
    }
    return this.#register(value);
  }

  #isMadeOnUse(value: Value): boolean {
    const { op } = value.op;
    return op === "stack" || op === "map" || constantOf(value) !== undefined;
  }

  #into(dst: number, value: Value): void {
    const constant = constantOf(value);
    if (constant !== undefined) this.#push(machine.constant(dst, constant));
    else if (value.op.op === "map") this.#push(machine.wide(dst, { kind: "map", map: value.op.map }));
    else if (value.op.op === "stack") {
      this.#push(machine.move(dst, FRAME_POINTER));
      this.#push(machine.aluImm("add", 64, dst, this.#stackOffset(value, value.op.size)));
    } else this.#push(machine.move(dst, this.#register(value)));
  }

  #stackOffset(value: Value, size: number): number {
    let offset = this.#stackOffsets.get(value);
    if (offset === undefined) {
      this.#stackSize += (size + 7) & ~7;
      offset = -this.#stackSize;
      this.#stackOffsets.set(value, offset);
    }
    return offset;
  }

  /** Follows constant distances back to a base that has a register, and adds them up. */
  #root(base: Value, offset: number): { base: Value; offset: number } {
    while (base.op.op === "pointerAdd") {
      const by = constantOf(base.op.by);
      if (by === undefined) break;
      const sum = offset + Number(BigInt.asIntN(64, by));
      if (!(Math.abs(sum) < 2 ** 31)) break;
      offset = sum;
      base = base.op.base;
    }
    return { base, offset };
  }

  #address(from: Value, distance: number): { base: number; offset: number } {
    const { base, offset } = this.#root(from, distance);
    if (base.op.op === "stack") {
      const whole = offset + this.#stackOffset(base, base.op.size);
      if (isInt16(whole)) return { base: FRAME_POINTER, offset: whole };
    }
    if (isInt16(offset)) return { base: this.#use(base), offset };
    const register = this.#nextRegister++;
    this.#into(register, base);
    this.#push(machine.aluImm("add", 64, register, offset));
    return { base: register, offset: 0 };
  }

  #value(value: Value): void {
    const { op } = value;
    switch (op.op) {
      case "const":
      case "parameter":
      case "context":
      case "map":
        return;
      case "stack":
        this.#stackOffset(value, op.size);
        return;
      case "mapValue":
        this.#push(machine.wide(this.#register(value), { kind: "mapValue", map: op.map, offset: op.offset }));
        return;
      case "binary":
        this.#binary(value, op.fn, op.left, op.right);
        return;
      case "swap": {
        const dst = this.#register(value);
        this.#into(dst, op.value);
        this.#push(machine.swap(dst, op.bits));
        return;
      }
      case "zeroExtend":
        // An i32's upper half is zero already.
        if (constantOf(value) === undefined) this.#alias(value, op.value);
        return;
      case "truncate":
        if (this.#looseUpperHalf[value.id]) this.#alias(value, op.value);
        else this.#push(machine.move32(this.#register(value), this.#use(op.value)));
        return;
      case "signExtend":
        this.#push(machine.moveSigned(this.#register(value), this.#use(op.value), op.from));
        return;
      case "compare":
        this.#compare(value, op);
        return;
      case "load": {
        const { base, offset } = op.field ? { base: this.#use(op.base), offset: 0 } : this.#address(op.base, op.offset);
        const load = machine.load(op.size, this.#register(value), base, offset);
        this.#push(op.field ? { ...load, reference: { kind: "field", ...op.field } } : load);
        return;
      }
      case "store": {
        const { base, offset } = op.field ? { base: this.#use(op.base), offset: 0 } : this.#address(op.base, op.offset);
        const imm = this.#storedImmediate(op.size, op.value);
        const store =
          imm === undefined
            ? machine.store(op.size, base, offset, this.#use(op.value))
            : machine.storeImm(op.size, base, offset, imm);
        this.#push(op.field ? { ...store, reference: { kind: "field", ...op.field } } : store);
        return;
      }
      case "fieldAddress": {
        const dst = this.#register(value);
        const { field, negative } = op;
        this.#into(dst, op.base);
        const { struct, field: path } = field;
        const reference = { kind: "fieldOffset", struct, field: path, ...(negative && { negative }) } as const;
        this.#push({ ...machine.aluImm("add", 64, dst, 0), reference });
        return;
      }
      case "kernelNumber":
        this.#push({ ...machine.constant(this.#register(value), 0n), reference: op.number });
        return;
      case "atomicAdd": {
        const { base, offset } = this.#address(op.base, op.offset);
        this.#push(machine.atomicAdd(op.size, base, offset, this.#use(op.value)));
        return;
      }
      case "atomicFetchAdd": {
        const { base, offset } = this.#address(op.base, op.offset);
        this.#into(this.#register(value), op.value);
        this.#push(machine.fetchAdd(op.size, this.#register(value), base, offset));
        return;
      }
      case "atomicCompareExchange": {
        const { base, offset } = this.#address(op.base, op.offset);
        const desired = this.#use(op.value);
        this.#into(0, op.expected);
        this.#push(machine.compareExchange(op.size, base, offset, desired));
        if (this.#uses[value.id]) this.#push(machine.move(this.#register(value), 0));
        return;
      }
      case "pointerAdd":
        this.#pointerAdd(value, op.base, op.by);
        return;
      case "call": {
        op.args.forEach((arg, i) => this.#into(i + 1, arg));
        this.#push(
          typeof op.helper === "number"
            ? machine.call(op.helper, op.args.length)
            : machine.callKernel(op.helper, op.args.length),
        );
        if (this.#uses[value.id]) this.#push(machine.move(this.#register(value), 0));
        return;
      }
    }
  }

  /** Lets `value` be the same register as `source`, or a copy of it where that is made on use. */
  #alias(value: Value, source: Value): void {
    if (this.#isMadeOnUse(source)) this.#into(this.#register(value), source);
    else this.#registers[value.id] = this.#register(source);
  }

  #storedImmediate(size: number, value: Value): number | undefined {
    const constant = constantOf(value);
    if (constant === undefined) return undefined;
    const signed = BigInt.asIntN(32, constant);
    return size < 8 || BigInt.asUintN(64, signed) === constant ? Number(signed) : undefined;
  }

  #binary(value: Value, fn: BinaryFn, left: Value, right: Value): void {
    const width = value.type.kind === "int" ? value.type.width : 64;
    const dst = this.#register(value);
    if (commutative.has(fn) && constantOf(left) !== undefined) [left, right] = [right, left];
    const constant = constantOf(right);
    if (constant !== undefined && this.#binaryWithConstant(dst, fn, width, left, constant)) return;
    // Two-address form: the operand that nobody else needs gives its register away.
    const swaps = commutative.has(fn) && !this.#isLastUse(left) && this.#isLastUse(right);
    if (swaps && constant === undefined) [left, right] = [right, left];
    const source = this.#use(right);
    this.#into(dst, left);
    this.#push(machine.alu(fn, width, dst, source));
  }

  #isLastUse(value: Value): boolean {
    return this.#uses[value.id] === 1 && value.op.op !== "parameter" && value.op.op !== "zeroExtend";
  }

  #binaryWithConstant(dst: number, fn: BinaryFn, width: 32 | 64, left: Value, constant: bigint): boolean {
    if (shifts.has(fn)) constant &= BigInt(width - 1);
    if (fn === "div" && constant === 0n) {
      this.#push(machine.constant(dst, 0n));
      return true;
    }
    if (constant === 0n && (fn === "mod" || shifts.has(fn))) {
      this.#push((width === 32 ? machine.move32 : machine.move)(dst, this.#use(left)));
      return true;
    }
    if (fn === "and" && width === 64 && constant >> 32n === 0n) {
      if (constant === 0xffff_ffffn) {
        this.#push(machine.move32(dst, this.#use(left)));
        return true;
      }
      width = 32;
    }
    const signed = BigInt.asIntN(32, constant);
    if (width === 64 && BigInt.asUintN(64, signed) !== constant) return false;
    this.#into(dst, left);
    this.#push(machine.aluImm(fn, width, dst, Number(signed)));
    return true;
  }

  #pointerAdd(value: Value, from: Value, by: Value): void {
    const dst = this.#register(value);
    const constant = constantOf(by);
    if (constant === undefined) {
      // The verifier takes scalar += pointer as well.
      if (!this.#isLastUse(from) && this.#isLastUse(by) && !this.#isMadeOnUse(from)) [from, by] = [by, from];
      const source = this.#use(by);
      this.#into(dst, from);
      this.#push(machine.alu("add", 64, dst, source));
      return;
    }
    const { base, offset } = this.#root(value, 0);
    if (base !== value) {
      this.#into(dst, base);
      this.#push(machine.aluImm("add", 64, dst, offset));
      return;
    }
    const source = this.#use(by);
    this.#into(dst, from);
    this.#push(machine.alu("add", 64, dst, source));
  }

  #compare(value: Value, op: Op & { op: "compare" }): void {
    const dst = this.#register(value);
    if (hasArithmeticForm(op)) {
      this.#compareByArithmetic(dst, op.fn, op.left, op.right);
      return;
    }
    const condition = this.#condition(op.fn, op.left, op.right);
    this.#push(machine.constant(dst, 1n));
    const start = this.#current;
    const zero = this.#newBlock(start.loopDepth, this.#position);
    const next = this.#newBlock(start.loopDepth, this.#position);
    start.condition = condition;
    start.taken = next;
    start.otherwise = zero;
    this.#current = zero;
    this.#push(machine.constant(dst, 0n));
    zero.otherwise = next;
    this.#current = next;
  }

  /** The operands' upper halves are zero, so the sign of a 64-bit difference tells which one is smaller. */
  #compareByArithmetic(dst: number, fn: CompareFn, left: Value, right: Value): void {
    const inverted = fn === "ule" || fn === "uge";
    if (fn === "ugt" || fn === "ule") [left, right] = [right, left];
    const subtract = (): void => {
      const constant = constantOf(right);
      if (constant === 0n && (fn === "eq" || fn === "ne")) {
        this.#into(dst, left);
        return;
      }
      const op = fn === "eq" || fn === "ne" ? "xor" : "sub";
      const fits = constant !== undefined && constant < 0x8000_0000n;
      const source = fits ? 0 : this.#use(right);
      this.#into(dst, left);
      this.#push(fits ? machine.aluImm(op, 64, dst, Number(constant)) : machine.alu(op, 64, dst, source));
    };
    subtract();
    if (fn === "eq") this.#push(machine.aluImm("add", 64, dst, -1));
    if (fn === "ne") this.#push(machine.negate(dst));
    this.#push(machine.aluImm("lshr", 64, dst, 63));
    if (inverted) this.#push(machine.aluImm("xor", 64, dst, 1));
  }

  #condition(fn: CompareFn, left: Value, right: Value): MachineInstruction {
    if (constantOf(left) !== undefined && constantOf(right) === undefined) {
      [left, right] = [right, left];
      fn = mirrored[fn];
    }
    const name: JumpOpName = fn;
    const width = this.#conditionWidth(fn, left, right);
    const constant = constantOf(right);
    const register = this.#use(left);
    let condition: MachineInstruction | undefined;
    if (constant !== undefined) {
      const signed = BigInt.asIntN(32, constant);
      if (width === 32 || BigInt.asUintN(64, signed) === constant) {
        condition = machine.jumpImm(name, width, register, Number(signed));
      }
    }
    condition ??= machine.jump(name, width, register, this.#use(right));
    return this.#position ? { ...condition, position: this.#position } : condition;
  }

  /**
   * With zero upper halves, i32 compare as well at full width, from which the verifier learns more where it does not know
   * about the upper half: after byte swaps.
   */
  #conditionWidth(fn: CompareFn, left: Value, right: Value): 32 | 64 {
    if (left.type.kind !== "int" || left.type.width === 64) return 64;
    if (fn.startsWith("s") || this.#looseUpperHalf[left.id] || this.#looseUpperHalf[right.id]) return 32;
    const constant = constantOf(right);
    return constant !== undefined && constant >= 0x8000_0000n ? 32 : 64;
  }

  #terminator(terminator: Terminator): void {
    switch (terminator.op) {
      case "jump":
        this.#copies(terminator.to);
        this.#current.otherwise = this.#blockOf.get(terminator.to.block)!;
        return;
      case "return":
        this.#into(0, terminator.value);
        return;
      case "branch": {
        const condition = this.#condition(terminator.fn, terminator.left, terminator.right);
        this.#branch(condition, terminator.then, terminator.otherwise);
        return;
      }
      case "check": {
        // The verifier recognises `base + constant > end` and then knows how far `base` may be read.
        const { base, offset } = this.#root(terminator.base, terminator.size);
        const end = this.#use(terminator.end);
        const limit = this.#nextRegister++;
        this.#into(limit, base);
        if (offset !== 0) this.#push(machine.aluImm("add", 64, limit, offset));
        const condition = machine.jump("ugt", 64, limit, end);
        const position = this.#position;
        this.#branch(position ? { ...condition, position } : condition, terminator.fail, terminator.ok);
        return;
      }
    }
  }

  #branch(condition: MachineInstruction, then: Edge, otherwise: Edge): void {
    const start = this.#current;
    start.condition = condition;
    start.taken = this.#landing(start, then);
    start.otherwise = this.#landing(start, otherwise);
    this.#current = start;
  }

  /** Where an edge of a branch leads: to a block of its own if arguments must be passed. */
  #landing(from: MachineBlock, edge: Edge): MachineBlock {
    const target = this.#blockOf.get(edge.block)!;
    if (edge.args.length === 0) return target;
    this.#current = this.#newBlock(Math.min(from.loopDepth, target.loopDepth), this.#position);
    this.#copies(edge);
    this.#current.otherwise = target;
    return this.#current;
  }

  #copies(edge: Edge): void {
    const copies: Copy[] = [];
    const made: [number, Value][] = [];
    edge.args.forEach((arg, i) => {
      const parameter = edge.block.parameters[i];
      if (!this.#uses[parameter.id]) return;
      if (this.#isMadeOnUse(arg)) made.push([this.#register(parameter), arg]);
      else copies.push({ to: this.#register(parameter), from: this.#register(arg) });
    });
    copyInParallel(
      copies,
      () => this.#nextRegister++,
      (to, from) => this.#push(machine.move(to, from)),
    );
    for (const [register, value] of made) this.#into(register, value);
  }
}

/** Comparisons of i32 that cost less as arithmetic than as a jump. */
function hasArithmeticForm(op: Op & { op: "compare" }): boolean {
  const { type } = op.left;
  return type.kind === "int" && type.width === 32 && !op.fn.startsWith("s") && op.fn !== "test";
}

/** The bit pattern of a value that is known without running. */
function constantOf(value: Value): bigint | undefined {
  if (value.op.op === "const") return value.op.value;
  if (value.op.op === "zeroExtend" && value.op.value.op.op === "const") return value.op.value.op.value;
  return undefined;
}

function isInt16(offset: number): boolean {
  return offset === (offset << 16) >> 16;
}
