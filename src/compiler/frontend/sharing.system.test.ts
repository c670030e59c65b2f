import { describe, expect, it } from "vitest";
import { makeFrame } from "../testing/packets.ts";
import { KernelRunner } from "../testing/kernel-runner.ts";
import { chain, type ChainOptions, type Runner } from "../testing/policy-harness.ts";
import { policySource } from "../testing/policy-source.ts";
import { importEverything } from "../testing/refusals.ts";
import { loadCollection, testRun } from "../../linux/index.ts";
import type { Hook } from "../index.ts";

const policies = `${importEverything}
const ports = table(u16, { packets: u32, last: u64 });
const verdicts = perPacket({ marks: u32, wide: u64 });
const totals = perCpu({ packets: u64 });
const jobs = claimable(flows({ size: u64, taken: u32 }, 64));
const offers = claimable(table(u32, { offers: u32 }, 64));
const numbered = slots({ owner: u32, refused: u16, wide: u64, key: u64 }, 2);
const opened = event("opened", { key: u64, port: u16, known: u8 });
export const often = selector({
  name: "often",
  state: { ports, verdicts },
  observe(packet, { ports }) {
    const port = ports.getOrCreate(packet.tcp.sourcePort);
    if (port) port.last = fetchAdd(port.packets, 1);
  },
  run(packet, _, { ports, verdicts }) {
    verdicts.marks = packet.tcp.sourcePort;
    const port = ports.get(packet.tcp.sourcePort);
    return port !== undefined && port.packets > 1;
  },
});
export const tell = actor({
  name: "tell",
  state: { ports, verdicts, totals },
  run(packet, _, { ports, verdicts, totals }) {
    totals.packets += 1;
    const was = ports.delete(verdicts.marks as number === 7 ? 7 : 0);
    if (!emit(opened, packet.flow, { key: 0x1122_3344_5566_7788, port: packet.tcp.sourcePort, known: was })) cannot("room");
    verdicts.wide = packet.tcp.sequence;
  },
});
export const job = actor({
  name: "job",
  state: { jobs, offers, numbered, verdicts, all: claimable(shared({ turns: u32 })) },
  run(packet, _, { jobs, offers, numbered, verdicts, all }) {
    const job = jobs.getOrCreate(packet.flow);
    const slot = offers.getOrCreate(u32(verdicts.wide));
    const free = numbered.at(packet.tcp.sourcePort - 5);
    if (free && compareExchange(free.owner, 0, packet.tcp.sequence) !== 0) free.refused += 1;
    if (free) free.key = compareExchange(free.wide, u64(free.refused), 0x1_0000_0000 + u64(packet.tcp.sequence));
    if (!job || !slot) return;
    offer(slot);
    if (claim(slot)) slot.offers += 1;
    if (packet.tcp.syn) offer(job);
    else if (claim(job)) { job.taken += 1; job.size = verdicts.wide; }
    if (claim(all)) all.turns += 1;
    offer(all);
  },
});`;

/** What goes with a socket. */
const ownOfSockets = `${importEverything}
export const watch = socketActor({
  name: "watch",
  state: { own: perSocket({ turns: u32, first: u64 }), numbered: slots({ turns: u64 }, 4) },
  run(socket, _, { own, numbered }) {
    const mine = own.getOrCreate(socket);
    if (!mine) return;
    if (compareExchange(mine.first, 0, now()) === 0) mine.turns = 1;
    if (mine.turns > 3 && own.delete(socket)) return;
    const slot = numbered.at(mine.turns);
    if (slot) slot.turns += 1;
    const again = own.get(socket);
    if (again) again.turns += 1;
  },
});`;

/** Owns a slot, or counts that it has an owner. */
const inSlots = `${importEverything}
export const fill = actor({
  name: "fill",
  state: { told: slots({ owner: u32, turns: u32 }, 3) },
  run(packet, _, { told }) {
    const slot = told.at(packet.tcp.sourcePort);
    if (slot) slot.turns = 2 + u32(compareExchange(slot.owner, 0, 1) !== 0);
  },
});`;

/** On sockets, the same state and events. */
const socketPolicies = `${importEverything}
const jobs = claimable(flows({ turns: u32 }, 64));
const seen = event("seen", { turns: u32 });
export const watch = socketActor({
  name: "watch",
  state: { jobs, totals: perCpu({ sockets: u64 }), note: perPacket({ turns: u32 }) },
  run(socket, _, { jobs, totals, note }) {
    totals.sockets += 1;
    const job = jobs.getOrCreate(socket.flow);
    if (!job) return;
    note.turns = fetchAdd(job.turns, 1);
    if (!claim(job)) offer(job);
    emit(seen, socket.flow, { turns: note.turns });
  },
});`;

const options: ChainOptions = { source: policySource(policies), select: "often", actors: ["tell", "job"] };

/** What a chain leaves of some packets; times are those of the runner's clock. */
function leave(runner: Runner): unknown {
  for (const [port, flags, sequence] of [
    [5, 2, 1],
    [7, 2, 2],
    [5, 16, 3],
    [7, 2, 4],
    [7, 16, 5],
    [7, 16, 0x8000_0000],
    [5, 16, 7],
    [5, 2, 7],
    [5, 16, 9],
  ] as const)
    runner.run(makeFrame({ tcp: { sourcePort: port, flags, sequence } }));
  const events = runner.events().map(({ timeNs, ...event }) => ({ ...event, hasTime: timeNs > 0n }));
  return { events, state: runner.state(), counters: runner.counters() };
}

describe("shared, observed, claimed and emitted", () => {
  it.each([
    ["xdp", "fused"],
    ["tcx_ingress", "fused"],
    ["tcx_egress", "fused"],
    ["xdp", "linked"],
    ["tcx_ingress", "linked"],
  ] as const)("kernel and VM agree on %s, %s", (hook: Hook, mode) => {
    const tested = chain({ ...options, mode });
    using kernel = new KernelRunner(tested, hook);
    const left = leave(kernel);
    expect(left).toEqual(leave(tested.vm(hook)));
    expect((left as { events: unknown[] }).events).toHaveLength(6);
  });

  it("may go with sockets", () => {
    const tested = chain({ source: policySource(ownOfSockets), actors: ["watch"] });
    using kernel = new KernelRunner(tested, "sock_ops", "iter_tcp");
    expect(kernel.verifiedInstructions("iter_tcp")).toBeGreaterThan(0);
    expect(kernel.state()["0.numbered"]).toHaveLength(4);
  });

  it("are in memory that this process maps", () => {
    const { layout, maps, programs } = chain({ source: policySource(inSlots), actors: ["fill"] }).compile("xdp");
    using collection = loadCollection({ programs, maps });
    using mapped = collection.maps[layout.state[0].map].mapIntoMemory();
    testRun(collection.programs["xdp"], { data: makeFrame({ tcp: { sourcePort: 2 } }) });
    const words = new Uint32Array(mapped.bytes.buffer, 0, (3 * mapped.stride) / 4);
    expect([...words]).toEqual([0, 0, 0, 0, 1, 2]);
    // What is written here is what the next program compares with.
    Atomics.store(words, 4, 7);
    testRun(collection.programs["xdp"], { data: makeFrame({ tcp: { sourcePort: 2 } }) });
    expect([...words]).toEqual([0, 0, 0, 0, 7, 3]);
  });

  it("are allowed in programs on sockets", () => {
    const tested = chain({ source: policySource(socketPolicies), actors: ["watch"] });
    using kernel = new KernelRunner(tested, "sock_ops", "iter_tcp");
    expect(kernel.verifiedInstructions("sock_ops")).toBeGreaterThan(0);
    expect(kernel.state()["0.jobs"]).toEqual([]);
  });
});
