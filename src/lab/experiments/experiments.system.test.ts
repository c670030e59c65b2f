import { expect, test } from "vitest";
import { listChains } from "../../chain/index.ts";
import { listNetns } from "../../linux/index.ts";
import { renderReport } from "../report/html.ts";
import { experiments, runExperiment } from "./index.ts";

/** Names of this process's runs; others may be at work on the same machine. */
const left = () =>
  [...listNetns(), ...listChains().map((chain) => chain.name)].filter((name) => name.includes(`p${process.pid}t`));

async function check(name: string): Promise<void> {
  const said: string[] = [];
  const experiment = await experiments[name].load();
  const report = await runExperiment(experiment, { quick: true, onProgress: (text) => said.push(text) });
  expect(report.checks.length).toBeGreaterThan(2);
  expect(report.checks.filter(({ ok }) => !ok)).toEqual([]);
  // What a person waits for says what it does.
  expect(said.length).toBeGreaterThan(1);
  const page = renderReport(report);
  expect(page).not.toMatch(/NaN|undefined/);
  for (const { plot, table } of report.sections) {
    expect(page.includes(plot!.title) || page.includes(plot!.title.replaceAll("'", "&#39;"))).toBe(true);
    for (const row of table.rows) expect(row).toHaveLength(table.columns.length);
  }
}

/** Those that mostly wait, as their links are slow, two at a time. */
const pairs = [
  ["smart-backup", "smart-streaming"],
  ["load-balancing", "fairness"],
] as const;
// cli/lab-experiment.system.test.ts runs this one as a command.
const elsewhere = "multi-tenant";
const alone = Object.keys(experiments).filter(
  (name) => name !== elsewhere && !pairs.flat().some((one) => one === name),
);

const groups: readonly (readonly string[])[] = [...pairs, ...alone.map((name) => [name])];

test.each(groups.map((names) => [names.join(" and "), names] as const))(
  "%s: the chains do what they are for, and nothing is left behind",
  async (_, names) => {
    // Whoever fails leaves the other one to finish: labs are closed before the next ones are made.
    const results = await Promise.allSettled(names.map(check));
    for (const result of results) if (result.status === "rejected") throw result.reason;
    expect(left()).toEqual([]);
  },
  120_000,
);
