/** A report as one HTML page that needs nothing else: plots inline, no scripts, light and dark. */
import { renderPlot } from "./plot.ts";
import type { Report, Section, Table } from "./report.ts";
import { element, escapeText } from "./svg.ts";

const style = `
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .75rem;border-bottom:1px solid #d5dae0;text-align:left}
.number{text-align:right}
code,pre{font:14px ui-monospace,monospace}
pre{padding:.75rem;background:#f1f3f5;overflow-x:auto}
figure{margin:1rem 0}
@media (prefers-color-scheme:dark){body{color:#e8ebef;background:#14171b}th,td{border-color:#3b424b}pre{background:#1f242a}}
`;

const paragraph = (text: string) => element("p", {}, escapeText(text));
const list = (items: readonly string[]) =>
  element("ul", {}, ...items.map((item) => element("li", {}, escapeText(item))));

/** The page. @throws RangeError from plots whose values have no place */
export function renderReport(report: Report): string {
  const checks = report.checks.map(({ what, ok, seen }) => `${ok ? "✓" : "✗"} ${what}: ${seen}`);
  const body = [
    element("h1", {}, escapeText(report.title)),
    paragraph(report.question),
    ...report.sections.flatMap(renderSection),
    element("h2", {}, "What was run"),
    list(report.setup),
    ...(checks.length > 0 ? [element("h2", {}, "What was checked"), list(checks)] : []),
    element("h2", {}, "Where"),
    list([...report.machine, `${report.startedAt}, ${report.elapsedSeconds.toFixed(0)} s`]),
    element("h2", {}, "To repeat it"),
    element("pre", {}, escapeText(report.repeat)),
  ];
  const head = [
    element("meta", { charset: "utf-8" }),
    element("meta", { name: "viewport", content: "width=device-width, initial-scale=1" }),
    element("title", {}, escapeText(report.title)),
    element("style", {}, style),
  ];
  const page = element("html", { lang: "en" }, element("head", {}, ...head), element("body", {}, ...body));
  return `<!doctype html>\n${page}\n`;
}

function renderSection({ title, text, table, plot }: Section): string[] {
  return [
    element("h2", {}, escapeText(title)),
    ...text.map(paragraph),
    ...(plot === undefined ? [] : [element("figure", {}, renderPlot(plot))]),
    renderTable(table),
  ];
}

function renderTable({ columns, rows }: Table): string {
  const cell = (name: "th" | "td", content: string, index: number) =>
    element(name, { class: columns[index]?.number ? "number" : undefined }, escapeText(content));
  const head = element("tr", {}, ...columns.map((column, i) => cell("th", column.title, i)));
  const lines = rows.map((row) => element("tr", {}, ...row.map((content, i) => cell("td", content, i))));
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...lines, ""));
}
