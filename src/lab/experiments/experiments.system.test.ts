import { expect, test } from "vitest";
import { listChains } from "../../chain/index.ts";
import { listNetns } from "../../linux/index.ts";
import { renderReport } from "../report/html.ts";
import { experiments, runExperiment } from "./index.ts";

/** Names of this process's runs; others may be at work on the same machine. */
const left = () =>
  [...listNetns(), ...listChains().map((chain) => chain.name)].filter((name) => name.includes(`p${process.pid}t`));

test.each(Object.keys(experiments))(
  "%s: its chains do what they are for, and nothing is left behind",
  async (name) => {
    const said: string[] = [];
    const experiment = await experiments[name].load();
    const report = await runExperiment(experiment, { quick: true, onProgress: (text) => said.push(text) });
    expect(report.checks.length).toBeGreaterThan(2);
    expect(report.checks.filter(({ ok }) => !ok)).toEqual([]);
    // What a person waits for says what it does.
    expect(said.length).toBeGreaterThan(2);
    const page = renderReport(report);
    expect(page).not.toMatch(/NaN|undefined/);
    for (const { plot, table } of report.sections) {
      expect(page.includes(plot!.title) || page.includes(plot!.title.replaceAll("'", "&#39;"))).toBe(true);
      for (const row of table.rows) expect(row).toHaveLength(table.columns.length);
    }
    expect(left()).toEqual([]);
  },
  120_000,
);
