/**
 * The typed SSA intermediate representation: what a policy means, before registers. A function is a graph of blocks; a
 * block has parameters (instead of phi nodes), a list of values and one terminator. The front end makes it through
 * `builder.ts`, the back end optimises it and emits eBPF.
 */
import type { Reference, SourcePosition } from "../../bpf/instruction.ts";

/** Where a pointer points; decides aliasing and what the verifier wants to see before a dereference. */
export type Memory = "context" | "packet" | "packetEnd" | "stack" | "map" | "mapHandle" | "kernel";

/**
 * `int` 32: the value's upper half is zero in its register. `int` 64: all bits count. Signedness is in the operation.
 * `nullable` pointers must be compared with 0 by a `branch` before use.
 */
export type Type =
  | { readonly kind: "int"; readonly width: 32 | 64 }
  | { readonly kind: "pointer"; readonly memory: Memory; readonly nullable: boolean }
  | { readonly kind: "void" };

export type BinaryFn = "add" | "sub" | "mul" | "div" | "mod" | "and" | "or" | "xor" | "shl" | "lshr" | "ashr";
export type CompareFn = "eq" | "ne" | "ult" | "ule" | "ugt" | "uge" | "slt" | "sle" | "sgt" | "sge" | "test";
export type MemorySize = 1 | 2 | 4 | 8;

export type Op =
  /** Two's complement bit pattern, 0 <= value < 2^width. */
  | { readonly op: "const"; readonly value: bigint }
  /** A block's parameter; its position is its index in `Block.parameters`. */
  | { readonly op: "parameter" }
  /** The program's context (r1 at entry). */
  | { readonly op: "context" }
  /** At the result type's width; `div` and `mod` are unsigned, x/0 = 0 and x%0 = x as in eBPF; shifts wrap at the width. */
  | { readonly op: "binary"; readonly fn: BinaryFn; readonly left: Value; readonly right: Value }
  /** Big-endian <-> host order of the low `bits`; higher bits become zero. */
  | { readonly op: "swap"; readonly bits: 16 | 32 | 64; readonly value: Value }
  /** 32 -> 64 (zero- or sign-extending from `from` bits) or 64 -> 32 (`truncate`). */
  | { readonly op: "zeroExtend"; readonly value: Value }
  | { readonly op: "signExtend"; readonly from: 8 | 16 | 32; readonly value: Value }
  | { readonly op: "truncate"; readonly value: Value }
  /** 0 or 1, 32 bits wide; operands have one type. `test` is (left & right) != 0. */
  | { readonly op: "compare"; readonly fn: CompareFn; readonly left: Value; readonly right: Value }
  /** Zero-extending load in host byte order. `field` stands for a kernel structure's offset and is added to `offset` 0. */
  | {
      readonly op: "load";
      readonly size: MemorySize;
      readonly base: Value;
      readonly offset: number;
      readonly field?: KernelField;
      /**
       * Loaded anew each time and never merged with another load: the verifier keeps what it learns about the value from
       * comparisons to this one load, so that a loop does not leave a trail of different states behind.
       */
      readonly fresh?: true;
    }
  | {
      readonly op: "store";
      readonly size: MemorySize;
      readonly base: Value;
      readonly offset: number;
      readonly field?: KernelField;
      readonly value: Value;
    }
  /** 4- or 8-byte atomic addition without fetch. */
  | {
      readonly op: "atomicAdd";
      readonly size: 4 | 8;
      readonly base: Value;
      readonly offset: number;
      readonly value: Value;
    }
  /** The same, and the result is the value before. */
  | {
      readonly op: "atomicFetchAdd";
      readonly size: 4 | 8;
      readonly base: Value;
      readonly offset: number;
      readonly value: Value;
    }
  /** Writes `value` where memory holds `expected`, atomically; the result is the value before. */
  | {
      readonly op: "atomicCompareExchange";
      readonly size: 4 | 8;
      readonly base: Value;
      readonly offset: number;
      readonly expected: Value;
      readonly value: Value;
    }
  /** base + by bytes; `by` is a 64-bit int. Loads and stores carry constant offsets themselves. */
  | { readonly op: "pointerAdd"; readonly base: Value; readonly by: Value }
  /** base plus, or (`negative`) minus, the offset of a field of a kernel structure. */
  | { readonly op: "fieldAddress"; readonly base: Value; readonly field: KernelField; readonly negative?: true }
  /** A 32-bit number that only the kernel's type information knows. */
  | { readonly op: "kernelNumber"; readonly number: KernelNumber }
  /** Address of `size` bytes of stack, 8-byte aligned, not initialised; each value of this op is its own object. */
  | { readonly op: "stack"; readonly size: number }
  /** The map itself, for a helper's argument. */
  | { readonly op: "map"; readonly map: string }
  /** Address of byte `offset` in entry 0 of an array map; never null. */
  | { readonly op: "mapValue"; readonly map: string; readonly offset: number }
  /**
   * A helper by number, or a function of the kernel by name. `effects` is "none" for helpers that only return a value and may be dropped (ktime_get_ns is not
   * merged with another call, though: calls are never merged); "memory" reads or writes stack and map memory;
   * "packet" also changes packet memory and makes every packet pointer invalid.
   */
  | {
      readonly op: "call";
      readonly helper: number | string;
      readonly args: readonly Value[];
      readonly effects: "none" | "memory" | "packet";
    };

export interface KernelField {
  readonly struct: string;
  readonly field: string;
  /** Bytes that it must have; where it is absent, the kernel's field may have any size. */
  readonly size?: number;
}

export type KernelNumber = Extract<Reference, { kind: "type" | "bitField" }>;

export interface Value {
  readonly id: number;
  readonly type: Type;
  op: Op;
  readonly position?: SourcePosition;
}

export interface Edge {
  block: Block;
  args: Value[];
}

export type Terminator =
  | { readonly op: "jump"; readonly to: Edge }
  /** Operands have one type: ints of one width, or pointer against `const` 0 of width 64, or packet pointer against packetEnd. */
  | {
      readonly op: "branch";
      readonly fn: CompareFn;
      readonly left: Value;
      readonly right: Value;
      readonly then: Edge;
      readonly otherwise: Edge;
    }
  /** Packet bounds: `ok` when base + size <= end. The verifier then lets base[0..size) be used in `ok` and what it dominates. */
  | {
      readonly op: "check";
      readonly base: Value;
      readonly end: Value;
      readonly size: number;
      readonly ok: Edge;
      readonly fail: Edge;
    }
  | { readonly op: "return"; readonly value: Value };

export interface Block {
  readonly id: number;
  readonly parameters: Value[];
  readonly values: Value[];
  terminator: Terminator | undefined;
  terminatorPosition?: SourcePosition;
}

export interface IrFunction {
  readonly name: string;
  readonly entry: Block;
  /** All blocks, the entry first; unreachable ones may be among them until the optimiser has run. */
  blocks: Block[];
}

export const int32: Type = { kind: "int", width: 32 };
export const int64: Type = { kind: "int", width: 64 };
export const nothing: Type = { kind: "void" };
export const pointer = (memory: Memory, nullable = false): Type => ({ kind: "pointer", memory, nullable });
