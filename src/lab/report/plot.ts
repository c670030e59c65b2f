/** Plots as data, and as SVG documents that stand alone: no scripts, no fonts from elsewhere, light and dark. */
import { drawBars } from "./bars.ts";
import { drawLines, drawPoints } from "./lines.ts";

export interface Axis {
  readonly label: string;
  readonly unit?: string;
  /** By powers of ten. */
  readonly log?: true;
}

export interface Point {
  readonly x: number;
  readonly y: number;
  /** Least and greatest of what `y` is the median of. */
  readonly low?: number;
  readonly high?: number;
}

export interface LinePlot {
  readonly kind: "lines";
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly { readonly name: string; readonly points: readonly Point[] }[];
}

export interface Bar {
  readonly value: number;
  readonly low?: number;
  readonly high?: number;
}

/** Many points that no line joins. */
export type PointPlot = Omit<LinePlot, "kind"> & { readonly kind: "points" };

export interface BarPlot {
  readonly kind: "bars";
  readonly title: string;
  readonly x: Pick<Axis, "label">;
  readonly y: Axis;
  readonly groups: readonly string[];
  /** One bar per group; undefined where there is nothing to show. */
  readonly series: readonly { readonly name: string; readonly bars: readonly (Bar | undefined)[] }[];
}

/** Which share of the values lies at or below x. */
export interface CdfPlot {
  readonly kind: "cdf";
  readonly title: string;
  /** What there is one value of. Default: the flows. */
  readonly of?: string;
  readonly x: Axis;
  readonly series: readonly { readonly name: string; readonly values: readonly number[] }[];
}

export type Plot = LinePlot | PointPlot | BarPlot | CdfPlot;

/** @throws RangeError for values that have no place on their axis: not finite, or not above 0 where it is logarithmic */
export function renderPlot(plot: Plot): string {
  switch (plot.kind) {
    case "lines":
      return drawLines(plot);
    case "points":
      return drawPoints(plot);
    case "bars":
      return drawBars(plot);
    case "cdf":
      return drawLines(cumulative(plot), { markers: false });
  }
}

/** A step up at each value: every one of them is a point of the line. */
function cumulative({ title, x, of = "flows", series }: CdfPlot): LinePlot {
  return {
    kind: "lines",
    title,
    x,
    y: { label: `share of the ${of}`, unit: "%" },
    series: series.map(({ name, values }) => {
      const sorted = values.toSorted((a, b) => a - b);
      const share = (count: number) => (100 * count) / sorted.length;
      return {
        name,
        points: sorted.flatMap((value, i) => [
          { x: value, y: share(i) },
          { x: value, y: share(i + 1) },
        ]),
      };
    }),
  };
}
