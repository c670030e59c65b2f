/** A report in a folder: the page, each plot by itself, the numbers. */
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { renderReport } from "./html.ts";
import { renderPlot } from "./plot.ts";
import type { Report } from "./report.ts";

/**
 * Writes `NAME.html`, `NAME-SECTION.svg` for each plot, and `NAME.json` with the numbers behind them.
 * @returns the paths of the files, the page first
 */
export function writeReport(folder: string, name: string, report: Report): string[] {
  mkdirSync(folder, { recursive: true });
  const files: [string, string][] = [
    [`${name}.html`, renderReport(report)],
    ...report.sections.flatMap(({ id, plot }): [string, string][] =>
      plot === undefined ? [] : [[`${name}-${id}.svg`, `${renderPlot(plot)}\n`]],
    ),
    [`${name}.json`, `${JSON.stringify(report, undefined, 2)}\n`],
  ];
  return files.map(([file, content]) => {
    const target = path.join(folder, file);
    writeFileSync(target, content);
    return target;
  });
}
