/** What all plots share: size, colours, axes with their marks, the legend. */
import { formatValue, type Scale } from "./scales.ts";
import type { Axis } from "./plot.ts";
import { element, escapeText } from "./svg.ts";

export const width = 720;
const lineHeight = 18;
const margin = { left: 74, right: 24, bottom: 58 };

export interface Area {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
  readonly height: number;
  /** Rows of the legend above the area. */
  readonly rows: readonly (readonly LegendEntry[])[];
}

export interface LegendEntry {
  readonly name: string;
  readonly index: number;
  readonly x: number;
}

/** Where the data goes: below the title and as many rows as the legend needs. */
export function layOut(names: readonly string[]): Area {
  const rows: LegendEntry[][] = [];
  let x = Infinity;
  names.forEach((name, index) => {
    // Proportional fonts differ; this is wide enough for all of them.
    const entryWidth = 30 + 7.5 * name.length;
    if (x + entryWidth > width - margin.right) {
      rows.push([]);
      x = margin.left;
    }
    rows.at(-1)!.push({ name, index, x });
    x += entryWidth;
  });
  const top = 40 + lineHeight * rows.length + 8;
  const bottom = top + 300;
  return { left: margin.left, right: width - margin.right, top, bottom, height: bottom + margin.bottom, rows };
}

/** As many colours as there are: shapes of the marks differ as well. */
const colours = [
  ["#2459d6", "#82a9ff"],
  ["#c2570c", "#f2a65a"],
  ["#0b7f5c", "#4fcfa3"],
  ["#7b3fd1", "#bd9bff"],
  ["#b4234a", "#ff8fa8"],
  ["#5b6470", "#aab4c0"],
] as const;

export function seriesClass(index: number): string {
  return `s${index % colours.length}`;
}

/** Plain rules, no custom properties: viewers other than browsers draw them in colour too. */
function paint(shade: 0 | 1, ink: string, faint: string, paper: string): string {
  const plot = ".emptcp-plot";
  const series = colours.map((pair, i) => {
    const colour = pair[shade];
    return `${plot} .s${i} .mark{fill:${colour}}${plot} .s${i} .line{stroke:${colour}}`;
  });
  return [
    `${plot}{background:${paper}}${plot} text{fill:${ink}}${plot} .axis,${plot} .whisker{stroke:${ink}}`,
    `${plot} .grid{stroke:${faint}}`,
    ...series,
  ].join("");
}

const style = [
  ".emptcp-plot text{font:13px system-ui,sans-serif}",
  ".emptcp-plot .title{font-weight:600;font-size:15px}",
  ".emptcp-plot .line{stroke-width:2;fill:none}",
  ".emptcp-plot .whisker{opacity:.65}",
  paint(0, "#1b1f24", "#d5dae0", "#ffffff"),
  `@media (prefers-color-scheme:dark){${paint(1, "#e8ebef", "#3b424b", "#14171b")}}`,
].join("");

export function named({ label, unit }: Axis): string {
  return unit === undefined ? label : `${label} (${unit})`;
}

export interface Mark {
  readonly at: number;
  readonly text: string;
}

/** The whole document: `content` is drawn over the grid. */
export function drawFrame(
  {
    title,
    xLabel,
    xMarks,
    y,
    yScale,
  }: { title: string; xLabel: string; xMarks: readonly Mark[]; y: Axis; yScale: Scale },
  area: Area,
  content: readonly string[],
): string {
  const { left, right, top, bottom, height } = area;
  const middle = (top + bottom) / 2;
  const parts = [
    element("title", {}, escapeText(title)),
    element("style", {}, style),
    text(title, left, 24, "start", "title"),
    ...area.rows.flatMap((row, i) => row.map((entry) => legendEntry(entry, 44 + lineHeight * i))),
    ...yScale.ticks.flatMap((tick) => {
      const at = yScale.place(tick);
      return [
        element("line", { class: "grid", x1: left, x2: right, y1: at, y2: at }),
        text(formatValue(tick), left - 8, at + 4, "end"),
      ];
    }),
    ...xMarks.flatMap((mark) => [
      element("line", { class: "axis", x1: mark.at, x2: mark.at, y1: bottom, y2: bottom + 5 }),
      text(mark.text, mark.at, bottom + 20, "middle"),
    ]),
    element("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }),
    text(xLabel, (left + right) / 2, height - 12, "middle"),
    element(
      "text",
      { x: 18, y: middle, "text-anchor": "middle", transform: `rotate(-90 18 ${middle})` },
      escapeText(named(y)),
    ),
    ...content,
  ];
  return element(
    "svg",
    {
      xmlns: "http://www.w3.org/2000/svg",
      class: "emptcp-plot",
      viewBox: `0 0 ${width} ${height}`,
      role: "img",
      style: "max-width:100%;height:auto",
      width,
      height,
    },
    ...parts,
  );
}

export function text(content: string, x: number, y: number, anchor: "start" | "middle" | "end", kind?: string): string {
  return element("text", { x, y, "text-anchor": anchor, class: kind }, escapeText(content));
}

function legendEntry({ name, index, x }: LegendEntry, y: number): string {
  return element(
    "g",
    { class: `legend ${seriesClass(index)}` },
    drawMark(index, x + 7, y),
    text(name, x + 18, y + 4, "start"),
  );
}

/** One of four shapes, so that colours are not needed to tell series apart; hovering tells the value. */
export function drawMark(index: number, x: number, y: number, told?: string): string {
  const r = 4;
  const shapes = [
    `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
    `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
    `M${x} ${y - r - 1}l${r + 1} ${2 * r}h${-2 * r - 2}z`,
    `M${x} ${y - r - 1}l${r + 1} ${r + 1}l${-r - 1} ${r + 1}l${-r - 1} ${-r - 1}z`,
  ];
  const attributes = { class: "mark", d: shapes[index % shapes.length] };
  return told === undefined
    ? element("path", attributes)
    : element("path", attributes, element("title", {}, escapeText(told)));
}

/** From the least to the greatest. */
export function drawWhisker(x: number, low: number, high: number): string {
  const cap = 4;
  return element("path", {
    class: "whisker",
    fill: "none",
    d: `M${x - cap} ${low}h${2 * cap}M${x} ${low}V${high}M${x - cap} ${high}h${2 * cap}`,
  });
}
