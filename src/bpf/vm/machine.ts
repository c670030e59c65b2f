/** The processor: registers, frames, memory accesses, calls. Contexts and helpers are given to it. */
import {
  AluOp,
  Atomic,
  CallSource,
  Control,
  FRAME_POINTER,
  InstructionClass,
  Mode,
  STACK_SIZE,
  Source,
  WIDE_LOAD,
  WideSource,
  bytesOfSizeCode,
} from "../opcodes.ts";
import { OPERAND, alu32, alu64, compare, makeRegisters, swapBytes } from "./alu.ts";
import type { VmErrorKind } from "./errors.ts";
import type { ArrayMap, VmMap } from "./maps.ts";
import { AddressSpace, REGION_BASE, region, type Region } from "./memory.ts";
import type { Program } from "./program.ts";

/** Functions that may be active at once (kernel: MAX_CALL_FRAMES). */
const MAX_FRAMES = 8;
/** Tail calls in a run (kernel: MAX_TAIL_CALL_CNT). */
const MAX_TAIL_CALLS = 33;
/** Upper half of the addresses of maps; the lower half is an index. */
const MAP_HANDLES = 0x4000_0000;

/** Both halves of a register that a call has destroyed. */
const POISON = 0x6b6b_6b6b;

/** What runs when a helper is called; the result goes to r0 (numbers are sign-extended ints). */
export type HelperFunction = (machine: Machine) => number | bigint;

/** What a program finds of a kernel. */
export interface MachineKernel {
  readonly memory: { find(high: number): Region | undefined };
  /** By their names. */
  readonly functions: ReadonlyMap<string, HelperFunction>;
}

interface Frame {
  readonly program: Program;
  /** Slot to return to. */
  readonly pc: number;
  /** r6 to r10 of the caller. */
  readonly saved: BigUint64Array;
  readonly stack: Region;
}

export class Machine {
  readonly space: AddressSpace;
  /** Instructions executed in this run. */
  steps = 0;
  private readonly registers = makeRegisters();
  private readonly helpers: ReadonlyMap<number, HelperFunction>;
  private readonly kernel: MachineKernel;
  private readonly stepLimit: number;
  private readonly handles: VmMap[] = [];
  private readonly handleOf = new Map<VmMap, number>();
  private readonly stacks: Uint8Array[] = [];
  private readonly frames: Frame[] = [];
  private tailCalls = 0;
  private pc = 0;
  private program!: Program;
  private stack!: Region;

  constructor(helpers: ReadonlyMap<number, HelperFunction>, stepLimit: number, kernel: MachineKernel) {
    this.helpers = helpers;
    this.kernel = kernel;
    this.space = new AddressSpace(kernel.memory);
    this.stepLimit = stepLimit;
  }

  /** Forgets the last run. Regions of the next one are added after this and before `run`. */
  begin(): void {
    this.space.begin();
    this.frames.length = 0;
    this.tailCalls = 0;
    this.steps = 0;
  }

  /** Runs a program with r1 pointing to byte 0 of a region; returns r0. */
  run(program: Program, contextHigh: number): bigint {
    this.program = program;
    this.registers.wide.fill(0n);
    this.registers.halves[2] = REGION_BASE;
    this.registers.halves[3] = contextHigh;
    this.enterStack(0);
    this.interpret();
    return this.registers.wide[0];
  }

  private interpret(): void {
    const { registers } = this;
    const { halves } = registers;
    this.pc = 0;
    for (;;) {
      const { pc } = this;
      const { opcodes, dst: dsts, src: srcs, offsets, immediates } = this.program;
      if (pc < 0 || pc >= opcodes.length) throw this.program.error(pc, "instruction", "it is followed by nothing");
      if (++this.steps > this.stepLimit)
        throw this.error("steps", `the program runs for more than ${this.stepLimit} instructions`);
      const opcode = opcodes[pc];
      const dst = dsts[pc];
      const offset = offsets[pc];
      const kind = opcode & 7;
      let src = srcs[pc];
      let done: boolean | undefined = true;
      if (kind >= InstructionClass.alu32) {
        if ((opcode & Source.reg) === 0) {
          src = OPERAND;
          halves[OPERAND << 1] = immediates[pc]!;
          halves[(OPERAND << 1) + 1] = immediates[pc] >> 31;
        }
        const op = opcode & 0xf0;
        if (kind === InstructionClass.alu64) {
          done =
            op === AluOp.end ? swapBytes(registers, dst, immediates[pc], true) : alu64(registers, op, dst, src, offset);
        } else if (kind === InstructionClass.alu32) {
          done =
            op === AluOp.end
              ? swapBytes(registers, dst, immediates[pc], (opcode & Source.reg) !== 0)
              : alu32(registers, op, dst, src, offset);
        } else if (op === Control.always) {
          this.pc = pc + 1 + (kind === InstructionClass.jump64 ? offset : immediates[pc]);
          continue;
        } else if (opcode === (InstructionClass.jump64 | Control.call)) {
          this.call(srcs[pc], immediates[pc]);
          continue;
        } else if (opcode === (InstructionClass.jump64 | Control.exit)) {
          if (this.leave()) return;
          continue;
        } else {
          done = compare(registers, op, dst, src, kind === InstructionClass.jump32);
          if (done !== undefined) {
            this.pc = done ? pc + 1 + offset : pc + 1;
            continue;
          }
        }
      } else if (opcode === WIDE_LOAD) {
        this.loadWide(dst, src);
        this.pc = pc + 2;
        continue;
      } else {
        done = this.memoryInstruction(opcode, dst, src, offset, immediates[pc]);
      }
      if (!done) throw this.error("instruction", "there is no such instruction");
      this.pc = pc + 1;
    }
  }

  private loadWide(dst: number, src: number): void {
    const { halves } = this.registers;
    const { references, immediates } = this.program;
    const map = references[this.pc];
    if (!map) {
      halves[dst << 1] = immediates[this.pc]!;
      halves[(dst << 1) + 1] = immediates[this.pc + 1]!;
    } else if (src === WideSource.mapValue) {
      halves[dst << 1] = REGION_BASE + immediates[this.pc + 1];
      halves[(dst << 1) + 1] = (map as ArrayMap).at(0)!.highIn(this.space);
    } else {
      let handle = this.handleOf.get(map);
      if (handle === undefined) {
        handle = this.handles.push(map) - 1;
        this.handleOf.set(map, handle);
      }
      halves[dst << 1] = handle;
      halves[(dst << 1) + 1] = MAP_HANDLES;
    }
  }

  private memoryInstruction(opcode: number, dst: number, src: number, offset: number, imm: number): boolean {
    const size = bytesOfSizeCode[opcode & 0x18];
    const mode = opcode & 0xe0;
    switch (opcode & 7) {
      case InstructionClass.ldx:
        this.load(size, dst, src, offset);
        if (mode === Mode.memSigned && size < 8) alu64(this.registers, AluOp.mov, dst, dst, size * 8);
        return mode === Mode.mem || mode === Mode.memSigned;
      case InstructionClass.st:
        this.store(size, dst, offset, imm, imm >> 31);
        return mode === Mode.mem;
      case InstructionClass.stx: {
        if (mode === Mode.atomic) return this.atomic(size, dst, src, offset, imm);
        const { halves } = this.registers;
        this.store(size, dst, offset, halves[src << 1], halves[(src << 1) + 1]);
        return mode === Mode.mem;
      }
      default:
        return false;
    }
  }

  private load(size: number, dst: number, base: number, offset: number): void {
    const { halves } = this.registers;
    const at = halves[base << 1] + offset - REGION_BASE;
    const from = this.reach(halves[(base << 1) + 1], at, size, false);
    let low: number;
    let high = 0;
    if (from.access) {
      ({ low, high } = from.access.load(at, size));
    } else if (size === 1) {
      low = from.bytes[at]!;
    } else if (size === 2) {
      low = from.view.getUint16(at, true);
    } else {
      low = from.view.getUint32(at, true);
      if (size === 8) high = from.view.getUint32(at + 4, true);
    }
    halves[dst << 1] = low;
    halves[(dst << 1) + 1] = high;
  }

  private store(size: number, base: number, offset: number, low: number, high: number): void {
    const { halves } = this.registers;
    const at = halves[base << 1] + offset - REGION_BASE;
    const to = this.reach(halves[(base << 1) + 1], at, size, true);
    if (to.access) {
      to.access.store(at, size, low, high);
    } else if (size === 1) {
      to.bytes[at] = low;
    } else if (size === 2) {
      to.view.setUint16(at, low, true);
    } else {
      to.view.setUint32(at, low, true);
      if (size === 8) to.view.setUint32(at + 4, high, true);
    }
  }

  private atomic(size: number, base: number, src: number, offset: number, operation: number): boolean {
    const { halves, wide } = this.registers;
    if (size < 4) return false;
    const at = halves[base << 1] + offset - REGION_BASE;
    const to = this.reach(halves[(base << 1) + 1], at, size, true);
    if (to.access) throw this.error("readOnly", `${to.name} has no atomic operations`);
    const mask = size === 8 ? 0xffff_ffff_ffff_ffffn : 0xffff_ffffn;
    const old = size === 8 ? to.view.getBigUint64(at, true) : BigInt(to.view.getUint32(at, true));
    const operand = wide[src] & mask;
    let result: bigint;
    let fetchInto: number | undefined = (operation & Atomic.fetch) !== 0 ? src : undefined;
    switch (operation) {
      case Atomic.xchg:
        result = operand;
        break;
      case Atomic.cmpxchg:
        result = (wide[0] & mask) === old ? operand : old;
        fetchInto = 0;
        break;
      case Atomic.add:
      case Atomic.add | Atomic.fetch:
        result = (old + operand) & mask;
        break;
      case Atomic.or:
      case Atomic.or | Atomic.fetch:
        result = old | operand;
        break;
      case Atomic.and:
      case Atomic.and | Atomic.fetch:
        result = old & operand;
        break;
      case Atomic.xor:
      case Atomic.xor | Atomic.fetch:
        result = old ^ operand;
        break;
      default:
        return false;
    }
    if (size === 8) to.view.setBigUint64(at, result, true);
    else to.view.setUint32(at, Number(result), true);
    if (fetchInto !== undefined) wide[fetchInto] = old;
    return true;
  }

  /** The region in which `size` bytes at `at` of the region `high` may be accessed. */
  private reach(high: number, at: number, size: number, write: boolean): Region {
    const found = this.space.find(high);
    const verb = write ? "writes" : "reads";
    if (!found)
      throw this.error(
        "memory",
        `it ${verb} ${size} bytes through what is no pointer (upper half 0x${high.toString(16)})`,
      );
    if (found.stale !== undefined)
      throw this.error("stale", `it ${verb} the ${found.name} through a pointer from before ${found.stale}`);
    if (at < found.start || at + size > found.end) {
      const from = at - found.start;
      throw this.error(
        "memory",
        `it ${verb} ${size} bytes at offset ${from} of the ${found.name}, which has ${found.end - found.start}`,
      );
    }
    if (write && !found.writable) throw this.error("readOnly", `it writes the ${found.name}, which is read-only`);
    return found;
  }

  private enterStack(depth: number): void {
    const bytes = (this.stacks[depth] ??= new Uint8Array(STACK_SIZE));
    bytes.fill(0);
    this.stack = region("stack", bytes);
    const { halves } = this.registers;
    halves[FRAME_POINTER << 1] = REGION_BASE + STACK_SIZE;
    halves[(FRAME_POINTER << 1) + 1] = this.space.add(this.stack);
  }

  private call(source: number, imm: number): void {
    if (source === CallSource.function) {
      if (this.frames.length + 1 >= MAX_FRAMES)
        throw this.error("call", `more than ${MAX_FRAMES} functions are active`);
      const saved = this.registers.wide.slice(6, 11);
      this.frames.push({ program: this.program, pc: this.pc + 1, saved, stack: this.stack });
      this.enterStack(this.frames.length);
      this.pc += 1 + imm;
      return;
    }
    const helper = this.function(source, imm);
    if (!helper) throw this.error("call", "the VM has no such function for this program");
    const result = helper(this);
    if (result === TAIL_CALLED) return;
    const { halves, wide } = this.registers;
    // The kernel leaves nothing sensible in r1 to r5; a pointer left there must not happen to work.
    halves.fill(POISON, 2, 12);
    if (typeof result === "bigint") {
      wide[0] = result;
    } else {
      halves[0] = result;
      halves[1] = result < 0 ? 0xffff_ffff : 0;
    }
    this.pc++;
  }

  private function(source: number, imm: number): HelperFunction | undefined {
    if (source === CallSource.helper) return this.helpers.get(imm);
    const name = source === CallSource.kernelFunction ? this.program.functions[imm] : undefined;
    return name === undefined ? undefined : this.kernel.functions.get(name);
  }

  /** Returns from a function; true when it was the program's last. */
  private leave(): boolean {
    const frame = this.frames.pop();
    if (!frame) return true;
    this.stack.stale = "its function returned";
    this.program = frame.program;
    this.pc = frame.pc;
    this.stack = frame.stack;
    this.registers.wide.set(frame.saved, 6);
    return false;
  }

  /** For the tail call helper: continues with another program in this frame, unless there were too many. */
  tailCall(target: Program): bigint | number {
    if (this.tailCalls >= MAX_TAIL_CALLS) return -1;
    this.tailCalls++;
    this.program = target;
    this.pc = 0;
    this.stack.stale = "a tail call";
    this.enterStack(this.frames.length);
    return TAIL_CALLED;
  }

  /** An error at the current instruction. */
  error(kind: VmErrorKind, reason: string): Error {
    return this.program.error(this.pc, kind, reason);
  }

  /** Argument 1 to 5 as an unsigned 32-bit number. */
  unsigned(argument: number): number {
    return this.registers.halves[argument << 1];
  }

  /** Argument 1 to 5 as a signed 32-bit number. */
  signed(argument: number): number {
    return this.registers.halves[argument << 1] | 0;
  }

  /** Argument 1 to 5, all 64 bits, unsigned. */
  wide(argument: number): bigint {
    return this.registers.wide[argument];
  }

  /** The bytes argument 1 to 5 points to, themselves. No bytes need no pointer. */
  memory(argument: number, size: number, write: boolean): Uint8Array {
    if (size === 0) return new Uint8Array(0);
    const { halves } = this.registers;
    const at = halves[argument << 1] - REGION_BASE;
    const found = this.reach(halves[(argument << 1) + 1], at, size, write);
    if (found.access) throw this.error("call", `argument ${argument} points into the ${found.name}`);
    return found.bytes.subarray(at, at + size);
  }

  /** The region argument 1 to 5 points to, which must be its first byte. */
  wholeRegion(argument: number): Region {
    const { halves } = this.registers;
    const found = this.space.find(halves[(argument << 1) + 1]);
    if (!found || found.stale !== undefined || halves[argument << 1] !== REGION_BASE) {
      throw this.error("call", `argument ${argument} does not point to the beginning of anything`);
    }
    return found;
  }

  /** The map argument 1 to 5 is. */
  map(argument: number): VmMap {
    const { halves } = this.registers;
    const map = halves[(argument << 1) + 1] === MAP_HANDLES ? this.handles[halves[argument << 1]] : undefined;
    if (!map) throw this.error("call", `argument ${argument} is no map`);
    return map;
  }

  /** A pointer to byte 0 of the region with this upper half. */
  pointer(high: number): bigint {
    return (BigInt(high) << 32n) | BigInt(REGION_BASE);
  }
}

/** The result of a helper that has replaced the running program. No helper returns this number. */
const TAIL_CALLED = 0x1_0000_0000_0000_0000n;
