import { describe, expect, it } from "vitest";
import { renderReport } from "./html.ts";
import { renderPlot, type BarPlot, type CdfPlot, type LinePlot, type Plot } from "./plot.ts";
import type { Report } from "./report.ts";
import { formatValue, linearScale, logScale } from "./scales.ts";
import { element, escapeText } from "./svg.ts";

/** The elements of a document, in order. @throws Error where the text is no well-formed XML */
function parseXml(text: string): { name: string; attributes: Record<string, string> }[] {
  const found: { name: string; attributes: Record<string, string> }[] = [];
  const open: string[] = [];
  const token = /<(\/?)([a-z]\w*)((?:\s[\w:-]+="[^"<]*")*)(\/?)>|[^<]+/gy;
  while (token.lastIndex < text.length) {
    const at = token.lastIndex;
    const match = token.exec(text);
    if (match === null) throw new Error(`No XML at ${text.slice(at, at + 60)}`);
    if (/&(?!(amp|lt|gt|quot|#39);)/.test(match[0])) throw new Error(`No entity in ${match[0]}`);
    const [, closing, name, attributes, empty] = match;
    if (name === undefined) continue;
    if (closing) {
      if (open.pop() !== name) throw new Error(`</${name}> closes nothing`);
      continue;
    }
    const pairs = [...attributes.matchAll(/([\w:-]+)="([^"]*)"/g)].map(([, key, value]) => [key, value] as const);
    if (new Set(pairs.map(([key]) => key)).size < pairs.length) throw new Error(`<${name}> says something twice`);
    found.push({ name, attributes: Object.fromEntries(pairs) });
    if (!empty) open.push(name);
  }
  if (open.length > 0) throw new Error(`Not closed: ${open.join(", ")}`);
  return found;
}

const lines: LinePlot = {
  kind: "lines",
  title: "Throughput <by> pairs & more",
  x: { label: "pairs" },
  y: { label: "throughput", unit: "Mbit/s" },
  series: [
    {
      name: "one uplink",
      points: [
        { x: 1, y: 46, low: 45, high: 47.5 },
        { x: 2, y: 47 },
        { x: 4, y: 47.25 },
      ],
    },
    {
      name: `"two"`,
      points: [
        { x: 1, y: 91 },
        { x: 4, y: 93 },
      ],
    },
  ],
};
const bars: BarPlot = {
  kind: "bars",
  title: "Cost",
  x: { label: "operation" },
  y: { label: "time", unit: "ns" },
  groups: ["an operation with a long name", "another one that is long", "b", "c", "d", "e", "f", "g"],
  series: [
    { name: "ours", bars: [{ value: 12 }, { value: 30, low: 25, high: 40 }, undefined, { value: 9 }] },
    { name: "theirs", bars: [{ value: 100 }, undefined, { value: 55 }] },
  ],
};
const cdf: CdfPlot = {
  kind: "cdf",
  title: "Completion",
  x: { label: "time", unit: "ms", log: true },
  series: [{ name: "tcp", values: [31, 22, 90] }],
};

const widths = (plot: BarPlot) =>
  parseXml(renderPlot(plot)).flatMap(({ name, attributes }) => (name === "rect" ? [Number(attributes["width"])] : []));

const told = (svg: string) => [...svg.matchAll(/<title>([^<]*)<\/title>/g)].map(([, text]) => text).slice(1);

describe("renderPlot()", () => {
  it.each<[string, Plot]>([
    ["lines", lines],
    ["bars", bars],
    ["a CDF", cdf],
    ["points", { ...lines, kind: "points" }],
  ])("draws %s as well-formed XML that names its axes and series", (_, plot) => {
    const svg = renderPlot(plot);
    const [root] = parseXml(svg);
    expect(root).toMatchObject({ name: "svg", attributes: { xmlns: "http://www.w3.org/2000/svg" } });
    expect(svg).toContain(escapeText(plot.title));
    for (const { name } of plot.series) expect(svg).toContain(escapeText(name));
    expect(svg).toContain(escapeText(plot.x.label));
    expect(svg).toContain("prefers-color-scheme:dark");
    expect(svg).not.toContain("NaN");
  });

  it("draws a mark for every point of a line, with its value", () => {
    expect(told(renderPlot(lines))).toEqual([
      "one uplink: 46 Mbit/s at 1",
      "one uplink: 47 Mbit/s at 2",
      "one uplink: 47.25 Mbit/s at 4",
      "&quot;two&quot;: 91 Mbit/s at 1",
      "&quot;two&quot;: 93 Mbit/s at 4",
    ]);
  });

  it("draws points that lie on each other once", () => {
    const points = [1, 1.0001, 50, 100].map((x) => ({ x, y: x }));
    const svg = renderPlot({ ...lines, kind: "points", series: [{ name: "many", points }] });
    expect(/class="line"[^>]* d="([^"]+)"/.exec(svg)![1].split("M")).toHaveLength(1 + 3);
  });

  it("draws a bar for every value, as high as the value asks, and none where there is no value", () => {
    const svg = renderPlot(bars);
    expect(told(svg)).toHaveLength(5);
    const heights = parseXml(svg)
      .filter(({ name }) => name === "rect")
      .map(({ attributes }) => Number(attributes["height"]));
    expect(heights[1] / heights[0]).toBeCloseTo(30 / 12, 2);
    expect(heights[3] / heights[0]).toBeCloseTo(100 / 12, 2);
  });

  it("gives bars that share no group the whole room of theirs", () => {
    const groups = ["a", "b"];
    const apart = [
      { name: "x", bars: [{ value: 1 }, undefined] },
      { name: "y", bars: [undefined, { value: 2 }] },
    ];
    const together = apart.map(({ name }) => ({ name, bars: [{ value: 1 }, { value: 2 }] }));
    const [wide] = widths({ ...bars, groups, series: apart });
    const [narrow] = widths({ ...bars, groups, series: together });
    expect(wide / narrow).toBeCloseTo(2, 2);
  });

  it("lets a CDF pass through every value and end at 100 %", () => {
    const path = /class="line" d="M([^"]+)"/.exec(renderPlot(cdf))![1];
    const points = path.split("L").map((point) => point.split(" ").map(Number));
    expect(points).toHaveLength(6);
    const heights = points.map(([, y]) => y);
    expect(heights).toEqual(heights.toSorted((a, b) => b - a));
    const places = [...new Set(points.map(([x]) => x))];
    const decade = places[2] - places[0];
    expect((places[1] - places[0]) / decade).toBeCloseTo(Math.log10(31 / 22) / Math.log10(90 / 22), 2);
  });

  it("refuses values that have no place on their axis", () => {
    const broken = { ...lines, series: [{ name: "x", points: [{ x: 1, y: NaN }] }] };
    expect(() => renderPlot(broken)).toThrow(RangeError);
    expect(() => renderPlot({ ...cdf, series: [{ name: "x", values: [0] }] })).toThrow("Cannot place 0");
  });

  it("draws plots that have nothing to show yet", () => {
    expect(parseXml(renderPlot({ ...lines, series: [] }))).not.toHaveLength(0);
    expect(parseXml(renderPlot({ ...cdf, series: [{ name: "none", values: [] }] }))).not.toHaveLength(0);
  });
});

describe("linearScale()", () => {
  it.each([
    [
      [46, 93],
      [0, 20, 40, 60, 80, 100],
    ],
    [
      [0.13, 0.42],
      [0, 0.1, 0.2, 0.3, 0.4, 0.5],
    ],
    [
      [-4, 11],
      [-5, 0, 5, 10, 15],
    ],
    [[7], [0, 2, 4, 6, 8]],
    [
      [0, 0],
      [0, 0.2],
    ],
  ])("holds %s between round values", (values, ticks) => {
    const scale = linearScale(values, 300, 0);
    expect([scale.ticks[0], scale.ticks.at(-1)]).toEqual([ticks[0], ticks.at(-1)]);
    expect(scale.place(scale.low)).toBe(300);
    expect(scale.place(scale.high)).toBe(0);
    for (const value of values) expect(scale.place(value)).toBeGreaterThanOrEqual(0);
    for (const value of values) expect(scale.place(value)).toBeLessThanOrEqual(300);
  });
});

describe("logScale()", () => {
  it("gives every power of ten as much room", () => {
    const { place, ticks } = logScale([1, 10_000], 0, 400);
    expect(ticks).toEqual([1, 10, 100, 1000, 10_000]);
    expect(ticks.map(place).map(Math.round)).toEqual([0, 100, 200, 300, 400]);
  });
});

describe("formatValue()", () => {
  it.each([
    [10_000, "10 000"],
    [0.63, "0.63"],
    [1234.567, "1 235"],
    [0, "0"],
    [0.0001, "1e-4"],
  ])("shows %d as %s", (value, text) => {
    expect(formatValue(value)).toBe(text);
  });
});

describe("escapeText()", () => {
  it("leaves nothing that a document could stumble over", () => {
    const nasty = `<script>"&'\u0000\u001b[0m</script>`;
    expect(parseXml(element("p", { title: nasty }, escapeText(nasty)))).toHaveLength(1);
  });
});

describe("renderReport()", () => {
  const report: Report = {
    title: "Tenants <1>",
    question: "What is gained?",
    setup: ["two uplinks of 50 Mbit/s"],
    sections: [
      {
        id: "8a",
        title: "Throughput",
        text: ["Twice as much."],
        table: { columns: [{ title: "pairs", number: true }, { title: "gain" }], rows: [["1", "+98 %"]] },
        plot: lines,
      },
    ],
    repeat: "sudo emptcp lab run multi-tenant --report out",
    machine: ["Linux 6.18", "2 processors"],
    startedAt: "2026-01-01T00:00:00Z",
    elapsedSeconds: 12.3,
    checks: [{ what: "packets left by the other uplink", ok: false, seen: "0 of 10" }],
    data: {},
  };

  it("is one well-formed page with question, numbers, plot, checks and the command, that loads nothing", () => {
    const page = renderReport(report);
    const body = page.replace("<!doctype html>\n", "").replace(/<meta [^>]*\/>/g, "");
    expect(parseXml(body)[0].name).toBe("html");
    for (const part of ["What is gained?", "+98 %", "<svg", "✗ packets left", report.repeat, "Tenants &lt;1&gt;"])
      expect(page).toContain(part);
    expect(page).not.toMatch(/\b(src|href)=|<script|@import|url\(/);
  });
});
