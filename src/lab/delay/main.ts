/**
 * The delay process of a lab. It runs in the wire's namespace, receives the ids of packets the kernel holds, and lets them go
 * when they are due. It sleeps in one system call instead of Node's event loop, whose timers count in milliseconds. Lines of
 * JSON on its standard input configure it; it ends when that pipe closes, so it cannot outlive its owner.
 */
import { readSync, writeSync } from "node:fs";
import { PacketQueues } from "../../linux/nfqueue.ts";
import { runUrgently, sleepExactly } from "../../linux/scheduling.ts";
import { DueQueue, maxWaiting, type Impairment } from "./queue.ts";

export type Configuration = { readonly queue: number; readonly impairment: Impairment }[];

sleepExactly();
runUrgently();

const input = 0;
const kernel = new PacketQueues();
const queues = new Map<number, DueQueue>();
const chunk = new Uint8Array(64 * 1024);
let pending = "";

function configure(configuration: Configuration): void {
  for (const { queue, impairment } of configuration) {
    const known = queues.get(queue);
    if (known !== undefined) known.impairment = impairment;
    else {
      kernel.bind(queue, maxWaiting);
      queues.set(queue, new DueQueue(impairment));
    }
  }
  writeSync(1, "ready\n");
}

/** False when the owner is gone. */
function readInput(): boolean {
  let length: number;
  try {
    length = readSync(input, chunk);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EAGAIN";
  }
  if (length === 0) return false;
  pending += new TextDecoder().decode(chunk.subarray(0, length));
  const lines = pending.split("\n");
  pending = lines.pop()!;
  for (const line of lines) configure(JSON.parse(line) as Configuration);
  return true;
}

for (;;) {
  let next = Infinity;
  for (const queue of queues.values()) next = Math.min(next, queue.nextDueMs);
  const ready = kernel.wait(next - performance.now(), input);
  if (ready.other && !readInput()) break;
  if (ready.packets) {
    const now = performance.now();
    kernel.receive((number, id) => {
      if (!queues.get(number)!.push(id, now)) kernel.drop(number, id);
    });
  }
  const now = performance.now();
  for (const [number, queue] of queues) {
    const last = queue.takeDue(now);
    if (last !== undefined) kernel.acceptUpTo(number, last);
  }
}
kernel.close();
process.exit(0);
