import { expect, test } from "vitest";
import * as asm from "../bpf/asm.ts";
import type { MapSpec, ProgramSpec } from "../bpf/spec.ts";
import { loadCollection } from "./collection.ts";
import { testRun } from "./programs.ts";
import { readRingBuffer } from "./ring-buffer.ts";

const SIZE = 4096;
const RECORD_BYTES = 20;
const events: MapSpec = { name: "events", type: "ringBuffer", keySize: 0, valueSize: 0, maxEntries: SIZE };
const sequence: MapSpec = { name: "sequence", type: "array", keySize: 4, valueSize: 8, maxEntries: 1 };

/** Sends a record that begins with a growing number; every third is discarded after it was reserved. */
const sender: ProgramSpec = {
  name: "sender",
  type: "xdp",
  attachType: "xdp",
  license: "GPL",
  maps: { events, sequence },
  instructions: [
    asm.loadMapValue(6, "sequence", 0),
    asm.alu64.mov.imm(7, 1),
    asm.atomic("add", 8, 6, 0, 7, "fetch"),
    asm.loadMap(1, "events"),
    asm.alu64.mov.imm(2, RECORD_BYTES),
    asm.alu64.mov.imm(3, 0),
    asm.call("ringbufReserve"),
    asm.jump64.eq.imm(0, 0, 9),
    asm.store(4, 0, 0, 7),
    asm.storeImm(4, 0, 16, 0x55),
    asm.alu64.mov.reg(1, 0),
    asm.alu64.mov.imm(2, 0),
    asm.alu64.mod.imm(7, 3),
    asm.jump64.eq.imm(7, 2, 2),
    asm.call("ringbufSubmit"),
    asm.goto(1),
    asm.call("ringbufDiscard"),
    asm.alu64.mov.imm(0, 2),
    asm.exit(),
  ],
};

const packet = new Uint8Array(64);
const numberOf = (record: Uint8Array) => new DataView(record.buffer).getUint32(0, true);
const expected = (count: number) => Array.from({ length: count }, (_, index) => index).filter((n) => n % 3 !== 2);

test("readRingBuffer() hands over every submitted record once, in order, many times around the ring", () => {
  using collection = loadCollection({ programs: { sender } });
  const seen: Uint8Array[] = [];
  using reader = readRingBuffer(collection.maps["events"], (record) => void seen.push(record));
  for (let round = 0; round < 20; round++) {
    testRun(collection.programs["sender"], { data: packet, repeat: 100 });
    reader.drain();
  }
  expect(seen.map(numberOf)).toEqual(expected(2000));
  for (const record of seen) {
    expect(record.length).toBe(RECORD_BYTES);
    expect(record[16]).toBe(0x55);
  }
  expect(reader.drain()).toBe(0);
});

test("readRingBuffer() wakes the event loop", async () => {
  using collection = loadCollection({ programs: { sender } });
  let done: () => void;
  const arrived = new Promise<void>((resolve) => (done = resolve));
  const seen: number[] = [];
  using _reader = readRingBuffer(collection.maps["events"], (record) => {
    if (seen.push(numberOf(record)) === 2) done();
  });
  testRun(collection.programs["sender"], { data: packet, repeat: 2 });
  await arrived;
  expect(seen).toEqual([0, 1]);
});

test("readRingBuffer() keeps what a full ring took (all but one record of its size) and goes on after it was drained", () => {
  using collection = loadCollection({ programs: { sender } });
  const seen: number[] = [];
  using reader = readRingBuffer(collection.maps["events"], (record) => void seen.push(numberOf(record)));
  testRun(collection.programs["sender"], { data: packet, repeat: 1000 });
  reader.drain();
  expect(seen).toEqual(expected(SIZE / 32 - 1));
  testRun(collection.programs["sender"], { data: packet, repeat: 1 });
  reader.drain();
  expect(seen.at(-1)).toBe(1000);
});

test("RingBufferReader.close() may be called by the callback, and twice", () => {
  using collection = loadCollection({ programs: { sender } });
  let count = 0;
  const reader = readRingBuffer(collection.maps["events"], () => {
    count++;
    reader.close();
  });
  testRun(collection.programs["sender"], { data: packet, repeat: 10 });
  reader.drain();
  reader.close();
  expect(count).toBe(1);
  expect(() => reader.drain()).toThrow("its reader is closed");
});

test("readRingBuffer() refuses other maps", () => {
  using collection = loadCollection({ programs: { sender } });
  expect(() => readRingBuffer(collection.maps["sequence"], () => {})).toThrow(TypeError);
});
