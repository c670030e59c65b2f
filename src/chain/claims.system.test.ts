import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, rmdirSync, unlinkSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { makeFrame } from "../compiler/testing/packets.ts";
import { chain } from "../compiler/testing/policy-harness.ts";
import { policySource } from "../compiler/testing/policy-source.ts";
import { importEverything } from "../compiler/testing/refusals.ts";
import { runnableModule } from "../lab/runnable.ts";
import { ensureBpffs, loadCollection, testRun, type KernelProgram } from "../linux/index.ts";
import { readFields } from "./state.ts";

const source = policySource(`${importEverything}
export const work = actor({
  name: "work",
  state: {
    job: claimable(shared({ turns: u64 })),
    table: claimable(flows({ turns: u64 }, 8)),
    won: shared({ job: u64, table: u64 }),
  },
  run(packet, _, { job, table, won }) {
    const entry = table.getOrCreate(packet.flow);
    if (!entry) return;
    if (packet.tcp.syn) {
      offer(job);
      offer(entry);
      return;
    }
    // Only whoever has the flag writes, so that a plain addition loses nothing.
    if (claim(job)) {
      job.turns = job.turns + 1;
      won.job += 1;
      offer(job);
    }
    if (claim(entry)) {
      entry.turns = entry.turns + 1;
      won.table += 1;
      offer(entry);
    }
  },
});
export const tell = actor({
  name: "tell",
  state: { told: claimable(shared({ first: u64, second: u64 })), heard: shared({ second: u64, claims: u64 }) },
  run(packet, _, { told, heard }) {
    // A packet with SYN tells, in two parts, once what it told before was heard; others listen.
    if (packet.tcp.syn) {
      if (heard.second !== told.second) return;
      told.first = told.second + 1;
      offer(told);
      told.second = told.first;
      offer(told);
      return;
    }
    if (!claim(told)) return;
    heard.claims += 1;
    heard.second = told.second;
  },
});`);

/** Of each CPU. */
const runs = 2_000_000;
const packet = makeFrame();
const syn = makeFrame({ tcp: { flags: 0x02 } });

/** Programs of one actor, and its state by name. */
function load(actor: string) {
  const { layout, maps, programs } = chain({ source, actors: [actor] }).compile("xdp");
  const collection = loadCollection({ programs, maps });
  return {
    program: collection.programs["xdp"],
    read(name: string): Record<string, number> {
      const slot = layout.state.find((one) => one.name === name)!;
      return readFields(collection.maps[slot.map].entries()[0].value, slot);
    },
    [Symbol.dispose]: () => collection.close(),
  };
}

/** Runs a program on each of the packets at once, `runs` times. */
async function race(program: KernelProgram, packets: readonly Uint8Array[]): Promise<void> {
  const directory = `${ensureBpffs()}/emptcp-claims-${process.pid}`;
  mkdirSync(directory);
  try {
    program.pin(`${directory}/program`);
    const script = runnableModule("chain/testing/run-program.ts");
    // Not in this process: a child's end would interrupt its run.
    const children = packets.map((data) =>
      spawn(process.execPath, [script, `${directory}/program`, Buffer.from(data).toString("hex"), String(runs)], {
        stdio: ["pipe", "pipe", "inherit"],
      }),
    );
    await Promise.all(children.map((child) => once(child.stdout, "data")));
    for (const child of children) child.stdin.write("go\n");
    const ends = await Promise.all(children.map((child) => once(child, "exit") as Promise<[number]>));
    expect(ends.map(([code]) => code)).toEqual(packets.map(() => 0));
  } finally {
    unlinkSync(`${directory}/program`);
    rmdirSync(directory);
  }
}

describe("claim() and offer()", () => {
  test("lose and double nothing when two CPUs take the same flags at once", async () => {
    using work = load("work");
    testRun(work.program, { data: syn });
    await race(work.program, [packet, packet]);
    const { job, table } = work.read("won");
    expect(job).toBeGreaterThan(runs / 2);
    expect(table).toBeGreaterThan(runs / 2);
    expect([work.read("job"), work.read("table")]).toEqual([{ turns: job }, { turns: table }]);
  });

  test("let a claimer see all that was written before an offer, one that found the flag set among them", async () => {
    using tell = load("tell");
    await race(tell.program, [syn, packet]);
    // What was told last, while nobody listened any more.
    testRun(tell.program, { data: packet });
    const { second, claims } = tell.read("heard");
    expect(tell.read("told")).toEqual({ first: second, second });
    expect(second).toBeGreaterThan(0);
    // At most two for each round: one for each offer.
    expect(claims).toBeGreaterThanOrEqual(second);
    expect(claims).toBeLessThanOrEqual(2 * second);
  });
});
