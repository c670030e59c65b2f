/** What a chain does per second and what its programs cost, for people. */
import type { ChainRates, ProgramRates } from "../chain/rates.ts";
import { print } from "./output.ts";
import { formatCount, formatTable, type Column } from "./table.ts";

function rate<Row>(title: string, of: (row: Row) => number): Column<Row> {
  return { title, of: (row) => formatRate(of(row)), align: "right" };
}

interface PolicyRow {
  readonly name: string;
  readonly seenPerSecond: number;
  readonly done: number;
  readonly cannotPerSecond: number;
}

export function printRates({ seconds, selectors, actors, programs }: ChainRates): void {
  print(`\nPer second, over ${Number(seconds.toFixed(1))} s:\n`);
  const policies: PolicyRow[] = [
    ...selectors.map((one) => ({ ...one, done: one.matchedPerSecond, cannotPerSecond: 0 })),
    ...actors.map((one) => ({ ...one, done: one.actedPerSecond })),
  ];
  print(
    `${formatTable<PolicyRow>(
      [
        { title: "POLICY", of: ({ name }) => name },
        rate("SEEN", ({ seenPerSecond }) => seenPerSecond),
        rate("MATCHED/ACTED", ({ done }) => done),
        rate("COULD NOT", ({ cannotPerSecond }) => cannotPerSecond),
      ],
      policies,
    )}\n`,
  );
  print(
    formatTable<ProgramRates>(
      [
        { title: "PROGRAM", of: ({ hook }) => hook },
        { title: "ON", of: ({ interfaces }) => interfaces.join(", ") || "-" },
        rate("RUNS", ({ runsPerSecond }) => runsPerSecond),
        { title: "NS/RUN", of: ({ nsPerRun }) => nsPerRun?.toFixed(0) ?? "-", align: "right" },
        { title: "CPU", of: ({ cpuShare }) => `${(100 * cpuShare).toFixed(3)} %`, align: "right" },
      ],
      programs,
    ),
  );
}

/** Whole numbers; below 10 with one decimal. */
function formatRate(perSecond: number): string {
  return perSecond > 0 && perSecond < 9.95 ? perSecond.toFixed(1) : formatCount(Math.round(perSecond));
}
