/** Random programs that call helpers on maps and packets and note what came back, to compare implementations of them. */
import { alu64, call, exit, jump64, load, loadMap, loadMapValue, store, storeImm } from "../asm.ts";
import { slots } from "../encode.ts";
import type { HelperName } from "../helpers.ts";
import type { Instruction } from "../instruction.ts";
import type { MapSpec, ProgramSpec } from "../spec.ts";
import { Random } from "./random-program.ts";

const CONTEXT = 6;
const NOTES = 9;
const STACK = 10;
const BUFFER = -64;
const NOTE_SLOTS = 60;

/** `notes` is where programs write results; the others are what they work on. */
export const randomCallMaps: Readonly<Record<string, MapSpec>> = {
  notes: { name: "notes", type: "array", keySize: 4, valueSize: NOTE_SLOTS * 8, maxEntries: 1 },
  hash: { name: "hash", type: "hash", keySize: 4, valueSize: 16, maxEntries: 4 },
  array: { name: "array", type: "array", keySize: 4, valueSize: 16, maxEntries: 4 },
};

/** A helper with its arguments as instructions that fill r2 to r5 (r1 too, where it is not the context). */
interface Call {
  readonly helper: HelperName;
  readonly arguments: readonly Instruction[];
  readonly after?: readonly Instruction[];
}

const numbers = (...values: readonly number[]) => values.map((value, i) => alu64.mov.imm(i + 2, value));
const bufferIn = (register: number) => [alu64.mov.reg(register, STACK), alu64.add.imm(register, BUFFER)];

function offset(random: Random): number {
  return random.pick([random.below(80), random.below(80), 0, 14, 24, 34, 50, 60, 0x10000, -1]);
}

function checksumCall(helper: "l3CsumReplace" | "l4CsumReplace", random: Random): Call {
  const size = random.pick([0, 2, 4, 2, 4, 4, 0, 3]);
  const from = size === 0 && random.below(8) > 0 ? 0 : random.next() | 0;
  const flags =
    helper === "l4CsumReplace" ? random.pick([0, 0x10, 0x20, 0x30, 0x60, 0x100]) : random.pick([0, 0, 0, 0x10]);
  return { helper, arguments: numbers(offset(random), from, random.pick([0, random.next() | 0]), size | flags) };
}

function copyCall(helper: "skbStoreBytes" | "skbLoadBytes" | "xdpLoadBytes" | "xdpStoreBytes", random: Random): Call {
  const length = 1 + random.below(40);
  const flags = helper === "skbStoreBytes" ? [alu64.mov.imm(5, random.pick([0, 1, 4]))] : [];
  return {
    helper,
    arguments: [alu64.mov.imm(2, offset(random)), ...bufferIn(3), alu64.mov.imm(4, length), ...flags],
  };
}

function checksumDifference(random: Random): Call {
  const size = () => random.pick([0, 4, 8, 20, 32]);
  const [from, to] = [size(), size()];
  return {
    helper: "csumDiff",
    arguments: [
      ...(from === 0 && random.below(2) === 0 ? [alu64.mov.imm(1, 0)] : bufferIn(1)),
      alu64.mov.imm(2, from),
      ...bufferIn(3),
      alu64.add.imm(3, 24),
      alu64.mov.imm(4, to),
      alu64.mov.imm(5, random.pick([0, 0xffff, -1, random.next() | 0])),
    ],
  };
}

function mapCall(random: Random): Call {
  const map = random.pick(["hash", "array"]);
  const key = random.below(6);
  const first = [storeImm(4, STACK, BUFFER, key), loadMap(1, map), ...bufferIn(2)];
  const kind = random.below(4);
  if (kind === 0) return { helper: "mapDeleteElem", arguments: first };
  if (kind < 3) {
    const value = [...bufferIn(3), alu64.add.imm(3, 8), alu64.mov.imm(4, random.pick([0, 0, 1, 2, 3]))];
    return { helper: "mapUpdateElem", arguments: [...first, ...value] };
  }
  // The pointer becomes what it points to, null stays 0; the value is changed in place.
  return {
    helper: "mapLookupElem",
    arguments: first,
    after: [jump64.eq.imm(0, 0, 2), storeImm(2, 0, 8, key), load(8, 0, 0, 8)],
  };
}

const ofType = {
  schedCls: [
    (random: Random) => checksumCall("l3CsumReplace", random),
    (random: Random) => checksumCall("l4CsumReplace", random),
    (random: Random) => copyCall("skbStoreBytes", random),
    (random: Random) => copyCall("skbLoadBytes", random),
    (random: Random): Call => ({ helper: "skbPullData", arguments: numbers(random.pick([0, 10, 54, 60, 200])) }),
    checksumDifference,
    mapCall,
  ],
  xdp: [
    (random: Random): Call => ({
      helper: "xdpAdjustHead",
      arguments: numbers(random.pick([-4, -40, -300, 4, 20, 50, 100])),
    }),
    (random: Random): Call => ({
      helper: "xdpAdjustTail",
      arguments: numbers(random.pick([-4, -40, 1, 8, 100, 4000])),
    }),
    (random: Random): Call => ({
      helper: "xdpAdjustMeta",
      arguments: numbers(random.pick([-4, -8, -6, -256, 4, 8, 252])),
    }),
    (random: Random) => copyCall("xdpLoadBytes", random),
    (random: Random) => copyCall("xdpStoreBytes", random),
    checksumDifference,
    mapCall,
  ],
} as const;

/** Reads of the context whose results are the same wherever a program runs. */
const contextReads = {
  schedCls: [0, 4, 8, 12, 16, 20, 24, 32, 36, 40, 44, 48, 64, 72, 164, 176],
  xdp: [12, 16],
} as const;

/** Where a context has its packet pointers: data, end, metadata. */
const pointers = { schedCls: [76, 80, 140], xdp: [0, 4, 8] } as const;

/** Makes a program of some helper calls; it returns 0 and leaves its results in `notes`. */
export function randomCalls(seed: number, type: "schedCls" | "xdp"): ProgramSpec {
  const random = new Random(seed);
  const body: Instruction[] = [alu64.mov.reg(CONTEXT, 1), loadMapValue(NOTES, "notes", 0)];
  let noted = 0;
  const note = (register: number) => body.push(store(8, NOTES, 8 * noted++, register));
  for (let at = 0; at < 64; at += 4) body.push(storeImm(4, STACK, BUFFER + at, random.next() | 0));
  for (const at of contextReads[type]) {
    body.push(load(4, 0, CONTEXT, at));
    note(0);
  }
  const calls = 1 + random.below(8);
  for (let i = 0; i < calls; i++) {
    const { helper, arguments: before, after = [] } = random.pick(ofType[type])(random);
    body.push(alu64.mov.reg(1, CONTEXT), ...before, call(helper), ...after);
    note(0);
    body.push(load(8, 0, STACK, BUFFER + 8 * random.below(8)));
    note(0);
  }
  const [data, end, meta] = pointers[type];
  for (const [from, to] of [
    [data, end],
    [meta, data],
  ] as const) {
    body.push(load(4, 2, CONTEXT, from), load(4, 0, CONTEXT, to), alu64.sub.reg(0, 2));
    note(0);
  }
  const write = [storeImm(4, 2, 10, random.next() | 0)];
  body.push(load(4, 2, CONTEXT, data), load(4, 3, CONTEXT, end), alu64.mov.reg(4, 2), alu64.add.imm(4, 14));
  body.push(jump64.ugt.reg(4, 3, slots(write)), ...write, alu64.mov.imm(0, 0), exit());
  return { name: "calls", type, license: "GPL", instructions: body, maps: randomCallMaps };
}
