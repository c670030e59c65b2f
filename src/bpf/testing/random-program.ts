/**
 * Random programs that the verifier accepts and whose outcome shows every register, so that two implementations of the
 * instruction set can be compared.
 */
import {
  alu32,
  alu64,
  atomic,
  atomicCompareExchange,
  atomicExchange,
  call,
  callFunction,
  endian,
  exit,
  goto,
  gotoLong,
  jump32,
  jump64,
  load,
  loadImm64,
  loadMapValue,
  loadSigned,
  store,
  storeImm,
  type AluConstructors,
} from "../asm.ts";
import { slots } from "../encode.ts";
import type { Instruction } from "../instruction.ts";
import type { Size } from "../opcodes.ts";
import type { MapSpec, ProgramSpec } from "../spec.ts";

/** A small generator of the same numbers for the same seed (xorshift32). */
export class Random {
  private state: number;
  constructor(seed: number) {
    this.state = Math.imul(seed + 1, 0x9e37_79b1) | 1;
    for (let i = 0; i < 8; i++) this.next();
  }
  /** 32 bits, unsigned. */
  next(): number {
    this.state ^= this.state << 13;
    this.state ^= this.state >>> 17;
    this.state ^= this.state << 5;
    return this.state >>> 0;
  }
  /** From 0 up to, not including, `limit`. */
  below(limit: number): number {
    return this.next() % limit;
  }
  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)];
  }
}

/** The map of a random program: entry 0 is memory it works on, and where its registers are at the end. */
export const randomProgramMap: MapSpec = { name: "memory", type: "array", keySize: 4, valueSize: 256, maxEntries: 1 };
const MEMORY_SIZE = 128;
const STACK_AREA = 128;

/** Registers that hold numbers; r9 points to the map's value. */
const NUMBERS = 9;
const VALUE = 9;
const STACK = 10;

const edgeValues = [
  0n,
  1n,
  2n,
  31n,
  63n,
  64n,
  0x7fn,
  0x80n,
  0xffffn,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  1n << 63n,
  -1n,
  -2n,
];
const edgeImmediates = [0, 1, -1, 2, 7, 0x7f, 0x80, -128, 0xffff, 0x7fff_ffff, -0x8000_0000];

function immediate(random: Random): number {
  return random.below(2) === 0 ? random.pick(edgeImmediates) : random.next() | 0;
}

function number64(random: Random): bigint {
  return random.below(2) === 0 ? random.pick(edgeValues) : (BigInt(random.next()) << 32n) | BigInt(random.next());
}

const register = (random: Random) => random.below(NUMBERS);

function arithmetic(random: Random): Instruction {
  const wide = random.below(2) === 0;
  const ops = wide ? alu64 : alu32;
  const dst = register(random);
  const kind = random.below(10);
  if (kind === 0) return ops.neg(dst);
  if (kind === 1) return random.pick([endian.toBe, endian.toLe, endian.swap])(dst, random.pick([16, 32, 64] as const));
  if (kind === 2)
    return ops.movSigned(dst, register(random), random.pick(wide ? ([8, 16, 32] as const) : ([8, 16] as const)));
  const name = random.pick([
    "add",
    "sub",
    "mul",
    "div",
    "or",
    "and",
    "shl",
    "lshr",
    "mod",
    "xor",
    "mov",
    "ashr",
    "sdiv",
    "smod",
  ] as const);
  const op: AluConstructors = ops[name];
  if (random.below(2) === 0) return op.reg(dst, register(random));
  if (name === "shl" || name === "lshr" || name === "ashr") return op.imm(dst, random.below(wide ? 64 : 32));
  const imm = immediate(random);
  return op.imm(dst, imm === 0 && /div|mod/.test(name) ? 1 : imm);
}

/** A place of some size in the stack area or in the map's value. */
function place(random: Random, size: number): { base: number; offset: number } {
  if (random.below(2) === 0) return { base: STACK, offset: -STACK_AREA + random.below(STACK_AREA / size) * size };
  return { base: VALUE, offset: random.below(MEMORY_SIZE / size) * size };
}

function memory(random: Random): Instruction {
  const kind = random.below(5);
  if (kind === 0) {
    const size = random.pick([4, 8] as const);
    const { base, offset } = place(random, size);
    const src = register(random);
    const op = random.below(6);
    if (op === 0) return atomicExchange(size, base, offset, src);
    if (op === 1) return atomicCompareExchange(size, base, offset, src);
    return atomic(
      random.pick(["add", "or", "and", "xor"] as const),
      size,
      base,
      offset,
      src,
      random.pick(["fetch", undefined]),
    );
  }
  const size: Size = random.pick([1, 2, 4, 8] as const);
  const { base, offset } = place(random, size);
  if (kind === 1) return store(size, base, offset, register(random));
  if (kind === 2) return storeImm(size, base, offset, immediate(random));
  // The kernel tells sign-extending loads of a spilled register apart from others; from the map's value all are plain.
  if (kind === 3 && size < 8 && base === VALUE) return loadSigned(size as 1 | 2 | 4, register(random), base, offset);
  return load(size, register(random), base, offset);
}

function refill(random: Random): Instruction[] {
  return [1, 2, 3, 4, 5].map((dst) => load(8, dst, VALUE, random.below(MEMORY_SIZE / 8) * 8));
}

/** A call of csum_diff on the stack; r1 to r5 are loaded anew afterwards. */
function helperCall(random: Random): Instruction[] {
  return [
    alu64.mov.reg(5, register(random)),
    alu64.mov.reg(1, STACK),
    alu64.add.imm(1, -STACK_AREA),
    alu64.mov.imm(2, random.below(9) * 4),
    alu64.mov.reg(3, STACK),
    alu64.add.imm(3, -STACK_AREA + 8),
    alu64.mov.imm(4, random.below(9) * 4),
    call("csumDiff"),
    ...refill(random),
  ];
}

/** Straight code; about one instruction in `1 / calls` is a call. */
function straight(random: Random, length: number, withCalls: boolean): Instruction[] {
  const body: Instruction[] = [];
  while (body.length < length) {
    const kind = random.below(40);
    if (kind === 0 && withCalls) body.push(...helperCall(random));
    else if (kind < 4) body.push(loadImm64(register(random), number64(random)));
    else body.push(kind < 12 ? memory(random) : arithmetic(random));
  }
  return body;
}

/** A forward jump around some code. */
function branch(random: Random): Instruction[] {
  const skipped = straight(random, 1 + random.below(6), false);
  const distance = slots(skipped);
  const kind = random.below(6);
  // Code behind a plain jump has to be reached some other way, or the verifier refuses it.
  if (kind < 2) {
    const over = kind === 0 ? goto(distance) : gotoLong(distance);
    return [jump64.sgt.imm(register(random), immediate(random), 1), over, ...skipped];
  }
  const ops = random.below(2) === 0 ? jump64 : jump32;
  const condition =
    ops[random.pick(["eq", "ugt", "uge", "test", "ne", "sgt", "sge", "ult", "ule", "slt", "sle"] as const)];
  const dst = register(random);
  const jump =
    random.below(2) === 0
      ? condition.reg(dst, register(random), distance)
      : condition.imm(dst, immediate(random), distance);
  return [jump, ...skipped];
}

/** A function of r1 to r5: some arithmetic and the sum of everything. */
function subprogram(random: Random): Instruction[] {
  const body: Instruction[] = [
    alu64.mov.reg(0, 1),
    alu64.mov.reg(6, 2),
    alu64.mov.reg(7, 3),
    alu64.mov.imm(8, immediate(random)),
  ];
  for (let i = 0; i < 12; i++) body.push(arithmetic(random));
  for (let other = 1; other < NUMBERS; other++) body.push(alu64.xor.reg(0, other), alu64.mul.imm(0, 0x1000_0193));
  return [...body, exit()];
}

/** Makes a program of about `length` instructions, the same one for the same seed. It is run on any packet. */
export function randomProgram(seed: number, length = 120): ProgramSpec {
  const random = new Random(seed);
  const body: Instruction[] = [loadMapValue(VALUE, "memory", 0)];
  // What comes from the map is unknown to the verifier, which would otherwise follow only one way of each branch.
  for (let dst = 0; dst < NUMBERS; dst++) {
    body.push(
      random.below(3) === 0 ? loadImm64(dst, number64(random)) : load(8, dst, VALUE, random.below(MEMORY_SIZE / 8) * 8),
    );
  }
  for (let offset = -STACK_AREA; offset < 0; offset += 8) body.push(store(8, STACK, offset, register(random)));
  while (body.length < length) {
    body.push(...(random.below(6) === 0 ? branch(random) : straight(random, 1 + random.below(8), true)));
  }
  const callsFunction = random.below(3) === 0;
  const at = body.length;
  if (callsFunction) body.push(...refill(random));
  for (let n = 0; n < NUMBERS; n++) body.push(store(8, VALUE, MEMORY_SIZE + 8 * n, n));
  for (let n = 1; n < NUMBERS; n++) body.push(alu64.mul.imm(0, 0x1000_0193), alu64.xor.reg(0, n));
  for (let shift = 16; shift < 64; shift += 16)
    body.push(alu64.mov.reg(1, 0), alu64.lshr.imm(1, shift), alu64.add.reg(0, 1));
  body.push(exit());
  if (callsFunction) {
    // The call replaces nothing: it goes in front of the refill, its target is behind the end.
    body.splice(at, 0, callFunction(slots(body.slice(at))));
    body.push(...subprogram(random));
  }
  return { name: "random", type: "schedCls", license: "GPL", instructions: body, maps: { memory: randomProgramMap } };
}

/** Memory for a run of a random program: the value of the map's entry 0, with edge values among random ones. */
export function randomMemory(seed: number): Uint8Array {
  const random = new Random(seed ^ 0x5bd1_e995);
  const bytes = new Uint8Array(randomProgramMap.valueSize);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < bytes.length; at += 8) view.setBigUint64(at, BigInt.asUintN(64, number64(random)), true);
  return bytes;
}
