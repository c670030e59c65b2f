/**
 * What memory is known to hold while the dominator tree is walked: earlier loads and stores, unless something that may
 * touch the same bytes lies on a path in between.
 */
import type { Flow } from "../../ir/flow.ts";
import type { Memory, Op, Value } from "../../ir/ir.ts";
import { isAtomic } from "../../ir/visit.ts";
import { constantOf } from "./simplify.ts";

/** Looking further back than this costs more than a load. */
const MAX_WRITES = 64;
/** Paths through more blocks than this are taken to write everything. */
const MAX_REGION = 200;

type Access = Op & { op: "load" | "store" | "atomicAdd" | "atomicFetchAdd" | "atomicCompareExchange" };

interface Place {
  readonly memory: Memory;
  readonly root: Value;
  readonly offset: number;
  readonly size: number;
  readonly field: string;
}

/** A place that may change, or what a call may change. */
type Write = Place | "memory" | "packet";

interface Known {
  readonly value: Value;
  readonly block: number;
  /** How many writes had happened. */
  readonly time: number;
}

export class MemoryState {
  readonly #flow: Flow;
  /** Writes on the path from the entry, in the dominator tree, to the current point. */
  readonly #writes: Write[] = [];
  readonly #timeAtEnd: number[] = [];
  readonly #known = new Map<string, Known>();

  constructor(flow: Flow) {
    this.#flow = flow;
  }

  enter(block: number): void {
    if (block === 0) return;
    const dominator = this.#flow.dominator[block];
    this.#writes.length = this.#timeAtEnd[dominator]!;
    const predecessors = this.#flow.predecessors[block];
    if (predecessors.length > 1 || predecessors[0] !== dominator) this.#addWritesBetween(dominator, block);
  }

  leave(block: number): void {
    this.#timeAtEnd[block] = this.#writes.length;
  }

  /** What a load would give: a value loaded or stored before, the low `size` bytes of which are in memory. */
  find(op: Access, block: number): Value | undefined {
    const place = placeOf(op);
    const known = this.#known.get(keyOf(place));
    if (!known || !this.#flow.dominates(known.block, block)) return undefined;
    if (this.#writes.length - known.time > MAX_WRITES) return undefined;
    for (let i = known.time; i < this.#writes.length; i++) if (mayChange(this.#writes[i], place)) return undefined;
    return known.value;
  }

  /** Notes that memory holds `value` where `op` looked or stored. */
  remember(op: Access, value: Value, block: number): void {
    this.#known.set(keyOf(placeOf(op)), { value, block, time: this.#writes.length });
  }

  /** Notes what `op` may change. */
  write(op: Op): void {
    const write = writeOf(op);
    if (write) this.#writes.push(write);
  }

  #addWritesBetween(dominator: number, block: number): void {
    const { order, predecessors } = this.#flow;
    const seen = new Set<number>([dominator]);
    const work = [block];
    while (work.length > 0) {
      for (const p of predecessors[work.pop()!]) {
        if (seen.has(p)) continue;
        seen.add(p);
        work.push(p);
        for (const { op } of order[p].values) this.write(op);
      }
      if (seen.size > MAX_REGION) {
        this.#writes.push("packet");
        return;
      }
    }
  }
}

function writeOf(op: Op): Write | undefined {
  if (op.op === "store" || isAtomic(op)) return placeOf(op);
  if (op.op === "call" && op.effects !== "none") return op.effects;
  return undefined;
}

function placeOf(op: Access): Place {
  let { base: root, offset } = op;
  while (root.op.op === "pointerAdd") {
    const by = constantOf(root.op.by);
    if (by === undefined) break;
    offset += Number(BigInt.asIntN(64, by));
    root = root.op.base;
  }
  const memory = op.base.type.kind === "pointer" ? op.base.type.memory : "kernel";
  const field = (op.op === "load" || op.op === "store") && op.field ? `${op.field.struct}.${op.field.field}` : "";
  return { memory, root, offset, size: op.size, field };
}

function keyOf({ root, offset, size, field }: Place): string {
  return `${root.id},${offset},${size},${field}`;
}

function mayChange(write: Write, place: Place): boolean {
  const { memory } = place;
  // A helper that changes the packet also changes where the context says it is.
  if (write === "packet") return true;
  if (write === "memory") return memory === "stack" || memory === "map" || memory === "kernel";
  if (write.memory !== memory) return false;
  // Where a field lies, and whether another one overlaps it, is known to the kernel only.
  if (write.field || place.field) return true;
  if (write.root === place.root) {
    return write.offset < place.offset + place.size && place.offset < write.offset + write.size;
  }
  if (memory === "context") return write.offset < place.offset + place.size && place.offset < write.offset + write.size;
  const a = objectOf(write.root);
  const b = objectOf(place.root);
  if (a.op.op === "stack" && b.op.op === "stack") return a === b;
  if (a.op.op === "mapValue" && b.op.op === "mapValue") return a.op.map === b.op.map;
  return true;
}

function objectOf(pointer: Value): Value {
  while (pointer.op.op === "pointerAdd") pointer = pointer.op.base;
  return pointer;
}
