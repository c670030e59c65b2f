/** Lines with points, and what spread the points had; points alone. */
import { drawFrame, drawMark, drawWhisker, layOut, named, seriesClass } from "./frame.ts";
import type { LinePlot, Point, PointPlot } from "./plot.ts";
import { formatValue, linearScale, logScale } from "./scales.ts";
import { element } from "./svg.ts";

export function drawLines(plot: LinePlot, { markers = true } = {}): string {
  const { title, x, y, series } = plot;
  const area = layOut(series.map(({ name }) => name));
  const points = series.flatMap((one) => one.points);
  const xs = points.map((point) => point.x);
  const ys = points.flatMap((point) => [point.y, point.low ?? point.y, point.high ?? point.y]);
  const xScale = x.log ? logScale(xs, area.left, area.right) : linearScale(xs, area.left, area.right, 6);
  const yScale = y.log ? logScale(ys, area.bottom, area.top) : linearScale(ys, area.bottom, area.top);
  const at = (point: Point) => [xScale.place(point.x), yScale.place(point.y)] as const;
  const told = (name: string, point: Point) =>
    `${name}: ${formatValue(point.y)} ${y.unit ?? ""} at ${formatValue(point.x)} ${x.unit ?? ""}`
      .replaceAll("  ", " ")
      .trimEnd();
  const content = series.map((one, index) => {
    const line = one.points.map((point) =>
      at(point)
        .map((value) => Math.round(value * 100) / 100)
        .join(" "),
    );
    return element(
      "g",
      { class: `series ${seriesClass(index)}` },
      ...(line.length > 1 ? [element("path", { class: "line", d: `M${line.join("L")}` })] : []),
      ...one.points.flatMap(({ x: value, low, high }) =>
        low === undefined || high === undefined || low === high
          ? []
          : [drawWhisker(xScale.place(value), yScale.place(low), yScale.place(high))],
      ),
      ...(markers ? one.points.map((point) => drawMark(index, ...at(point), told(one.name, point))) : []),
    );
  });
  const xMarks = xScale.ticks.map((tick) => ({ at: xScale.place(tick), text: formatValue(tick) }));
  return drawFrame({ title, xLabel: named(x), xMarks, y, yScale }, area, content);
}

export function drawPoints({ title, x, y, series }: PointPlot): string {
  const area = layOut(series.map(({ name }) => name));
  const points = series.flatMap((one) => one.points);
  const xScale = linearScale(
    points.map((point) => point.x),
    area.left,
    area.right,
    6,
  );
  const yScale = linearScale(
    points.map((point) => point.y),
    area.bottom,
    area.top,
  );
  const content = series.map((one, index) => {
    // Points that would cover each other are one.
    const places = new Set(
      one.points.map((point) => `M${[xScale.place(point.x), yScale.place(point.y)].map(Math.round).join(" ")}h0`),
    );
    return element(
      "g",
      { class: `series ${seriesClass(index)}` },
      ...(places.size > 0
        ? [element("path", { class: "line", "stroke-linecap": "round", d: [...places].join("") })]
        : []),
    );
  });
  const xMarks = xScale.ticks.map((tick) => ({ at: xScale.place(tick), text: formatValue(tick) }));
  return drawFrame({ title, xLabel: named(x), xMarks, y, yScale }, area, content);
}
