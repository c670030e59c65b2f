import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, rmdirSync, unlinkSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { makeFrame } from "../compiler/testing/packets.ts";
import { chain } from "../compiler/testing/policy-harness.ts";
import { policySource } from "../compiler/testing/policy-source.ts";
import { importEverything } from "../compiler/testing/refusals.ts";
import { runnableModule } from "../lab/runnable.ts";
import { ensureBpffs, loadCollection, testRun } from "../linux/index.ts";
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
});`);

const runs = 2_000_000;

describe("claim() and offer()", () => {
  test("lose and double nothing when two CPUs take the same flags at once", async () => {
    const { layout, maps, programs } = chain({ source, actors: ["work"] }).compile("xdp");
    using collection = loadCollection({ programs, maps });
    const program = collection.programs["xdp"];
    testRun(program, { data: makeFrame({ tcp: { flags: 0x02 } }) });
    const directory = `${ensureBpffs()}/emptcp-claims-${process.pid}`;
    mkdirSync(directory);
    try {
      program.pin(`${directory}/program`);
      const data = makeFrame();
      const script = runnableModule("chain/testing/run-program.ts");
      const args = [script, `${directory}/program`, Buffer.from(data).toString("hex"), String(runs)];
      // Not in this process: a child's end would interrupt its run.
      const children = [0, 1].map(() => spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] }));
      await Promise.all(children.map((child) => once(child.stdout, "data")));
      for (const child of children) child.stdin.write("go\n");
      const ends = await Promise.all(children.map((child) => once(child, "exit") as Promise<[number]>));
      expect(ends.map(([code]) => code)).toEqual([0, 0]);
    } finally {
      unlinkSync(`${directory}/program`);
      rmdirSync(directory);
    }
    const read = (name: string): Record<string, number> => {
      const slot = layout.state.find((one) => one.name === name)!;
      return readFields(collection.maps[slot.map].entries()[0].value, slot);
    };
    const { job, table } = read("won");
    expect(job).toBeGreaterThan(runs / 2);
    expect(table).toBeGreaterThan(runs / 2);
    expect([read("job"), read("table")]).toEqual([{ turns: job }, { turns: table }]);
  });
});
