/** `emptcp lab run EXPERIMENT`: measures, prints the tables, writes the report. */
import type { ExperimentEntry } from "../../lab/experiments/index.ts";
import type { Report, Section } from "../../lab/report/report.ts";
import { colours, LiveLine, print, printJson } from "../output.ts";
import { formatTable } from "../table.ts";

export interface ExperimentFlags {
  readonly quick?: true;
  /** True without a folder. */
  readonly report?: string | true;
  readonly json?: true;
}

const defaultFolder = "emptcp-report";

export async function runNamedExperiment(name: string, entry: ExperimentEntry, flags: ExperimentFlags): Promise<void> {
  const { report: folder, quick, json } = flags;
  const line = new LiveLine();
  let report: Report;
  line.show("loading …");
  try {
    const [experiment, { runExperiment }] = await Promise.all([entry.load(), import("../../lab/experiments/index.ts")]);
    report = await runExperiment(experiment, { quick: quick === true, onProgress: (text) => line.show(text) });
  } finally {
    line.clear();
  }
  const { writeReport } = await import("../../lab/report/write.ts");
  const files = folder === undefined ? [] : writeReport(folder === true ? defaultFolder : folder, name, report);
  if (json) printJson({ ...report, files });
  else printReport(report, files);
  if (report.checks.some(({ ok }) => !ok)) process.exitCode = 1;
}

function printReport(report: Report, files: readonly string[]): void {
  print(`${colours.bold(report.title)}\n${report.question}\n`);
  for (const line of report.setup) print(`  ${colours.dim(line)}`);
  for (const section of report.sections) printSection(section);
  print("");
  for (const { what, ok, seen } of report.checks)
    print(`${ok ? colours.green("✓") : colours.red("✗")} ${what}: ${seen}`);
  print(colours.dim(`${report.machine.join("; ")}; ${report.elapsedSeconds.toFixed(0)} s`));
  if (files.length > 0) print(`\nWrote ${files.join(", ")}`);
}

function printSection({ title, text, table }: Section): void {
  print(`\n${colours.bold(title)}`);
  for (const paragraph of text) print(paragraph);
  print("");
  const columns = table.columns.map((column, i) => ({
    // Units keep their letters.
    title: column.title.replace(/^[^(]*/, (name) => name.toUpperCase()),
    of: (row: readonly string[]) => row[i],
    ...(column.number && { align: "right" as const }),
  }));
  print(formatTable(columns, table.rows));
}
