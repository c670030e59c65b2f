import { afterEach, expect, test, vi } from "vitest";
import * as asm from "../bpf/asm.ts";
import type { Instruction } from "../bpf/instruction.ts";
import type { MapSpec, ProgramSpec } from "../bpf/spec.ts";
import { OperationsVm, RingBufferMap, type FieldValue } from "../bpf/vm/index.ts";
import { createLab, startTransfer, type Lab } from "../lab/index.ts";
import { loadCollection } from "./collection.ts";
import { registerStructOps } from "./links/struct-ops.ts";
import { readRingBuffer } from "./ring-buffer.ts";
import { createStructOps } from "./struct-ops.ts";
import { controlSpec } from "./testing/congestion-control.ts";

// The VM's Reno against the kernel's, which does the congestion control of a transfer: the same programs tell what a socket
// was before a call of Reno and after it, and in the VM they must come to the same from the same beginning.

const name = `emv_${process.pid}`;
let lab: Lab | undefined;

afterEach(async () => {
  await lab?.close();
  lab = undefined;
});

const log: MapSpec = { name: "log", type: "ringBuffer", keySize: 0, valueSize: 0, maxEntries: 1 << 22 };
const read = ["snd_cwnd", "snd_ssthresh", "snd_cwnd_clamp", "prior_cwnd", "max_packets_out", "snd_cwnd_cnt"] as const;
const limited = "is_cwnd_limited";
const operations = ["ssthresh", "undo_cwnd", "cong_avoid"] as const;

/** Words of a record, by what they are. */
const words = ["operation", limited, "acked", ...read, "cwndAfter", "countAfter", "result"] as const;
const recordBytes = 4 * words.length;
const onStack = (word: (typeof words)[number]): number => 4 * words.indexOf(word) - recordBytes;
type RecordOfCall = Readonly<Record<(typeof words)[number], number>>;

/** Calls Reno's function with the operation's arguments, and tells. r6 is the socket, r7 the result. */
function told(member: (typeof operations)[number], count: number, kernelFunction: string): ProgramSpec {
  const field = (source: string, word: (typeof words)[number]): Instruction[] => [
    asm.loadField(4, 1, 6, "tcp_sock", source, 4),
    asm.store(4, 10, onStack(word), 1),
  ];
  const args = Array.from({ length: count - 1 }, (_, i) => asm.load(8, i + 2, 8, 8 * (i + 1)));
  return {
    name: member,
    type: "structOps",
    operation: { struct: "tcp_congestion_ops", member },
    license: "GPL",
    maps: { log },
    instructions: [
      asm.alu64.mov.reg(8, 1),
      asm.load(8, 6, 1, 0),
      asm.storeImm(4, 10, onStack("operation"), operations.indexOf(member)),
      asm.storeImm(4, 10, onStack("acked"), 0),
      ...args,
      ...(count === 3 ? [asm.store(4, 10, onStack("acked"), 3)] : []),
      ...read.flatMap((source) => field(source, source)),
      asm.loadField(1, 1, 6, "tcp_sock", limited),
      asm.loadBits(4, "tcp_sock", limited, "shift"),
      asm.alu64.lshr.reg(1, 4),
      asm.loadBits(4, "tcp_sock", limited, "mask"),
      asm.alu64.and.reg(1, 4),
      asm.store(4, 10, onStack(limited), 1),
      asm.alu64.mov.reg(1, 6),
      asm.callKernel(kernelFunction),
      count === 3 ? asm.alu64.mov.imm(7, 0) : asm.alu64.mov.reg(7, 0),
      asm.store(4, 10, onStack("result"), 7),
      ...field("snd_cwnd", "cwndAfter"),
      ...field("snd_cwnd_cnt", "countAfter"),
      asm.loadMap(1, "log"),
      asm.alu64.mov.reg(2, 10),
      asm.alu64.add.imm(2, -recordBytes),
      asm.alu64.mov.imm(3, recordBytes),
      asm.alu64.mov.imm(4, 0),
      asm.call("ringbufOutput"),
      asm.alu64.mov.reg(0, 7),
      asm.exit(),
    ],
  };
}

const programs: Readonly<Record<string, ProgramSpec>> = {
  ssthresh: told("ssthresh", 1, "tcp_reno_ssthresh"),
  undo_cwnd: told("undo_cwnd", 1, "tcp_reno_undo_cwnd"),
  cong_avoid: told("cong_avoid", 3, "tcp_reno_cong_avoid"),
};

function decode(record: Uint8Array): RecordOfCall {
  const view = new DataView(record.buffer, record.byteOffset);
  return Object.fromEntries(words.map((word, i) => [word, view.getUint32(4 * i, true)])) as RecordOfCall;
}

/** What the VM tells of the same call. */
function inVm(vm: OperationsVm, call: RecordOfCall): RecordOfCall {
  const fields: [string, FieldValue][] = [limited, ...read].map((word) => [word, call[word as keyof RecordOfCall]]);
  const socket = vm.objects.make("tcp_sock", Object.fromEntries(fields));
  const member = operations[call.operation];
  vm.call(member, socket, ...(member === "cong_avoid" ? [0, call.acked] : []));
  return decode((vm.maps.get("log") as RingBufferMap).drain()[0]);
}

test("Reno in the VM is the kernel's, call for call", async () => {
  const path = { between: ["client", "server"], rateMbit: 10, rttMs: 20, lossPercent: 0.5 } as const;
  lab = await createLab({ hosts: { client: {}, server: {} }, links: [{ name: "wifi", ...path }] });
  const seen: RecordOfCall[] = [];
  using collection = loadCollection({ programs });
  using reader = readRingBuffer(collection.maps["log"], (record) => void seen.push(decode(record)));
  using map = createStructOps(controlSpec(name), collection.programs);
  using _link = registerStructOps(map);
  const transfer = await startTransfer(lab, { direction: "upload", seconds: 20, congestionControl: name });
  await vi.waitFor(
    () => {
      reader.drain();
      const counts = operations.map((_, i) => seen.filter(({ operation }) => operation === i).length);
      expect(counts[0]).toBeGreaterThan(1);
      expect(counts[2]).toBeGreaterThan(1000);
    },
    { timeout: 15_000, interval: 200 },
  );
  await transfer.stop();
  reader.drain();
  const vm = new OperationsVm(programs);
  expect(seen.map((call) => inVm(vm, call))).toEqual(seen);
  // All of Reno has been seen: slow start, growth by one a window, nothing to grow by, losses.
  const growing = seen.filter(({ operation }) => operations[operation] === "cong_avoid");
  expect(growing.some(({ snd_cwnd, snd_ssthresh, cwndAfter }) => snd_cwnd < snd_ssthresh && cwndAfter > snd_cwnd)).toBe(
    true,
  );
  expect(
    growing.some(({ snd_cwnd, snd_ssthresh, cwndAfter }) => snd_cwnd >= snd_ssthresh && cwndAfter > snd_cwnd),
  ).toBe(true);
});
