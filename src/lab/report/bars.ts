/** Groups of bars, one per series, each with its value on top. */
import { drawFrame, drawWhisker, layOut, seriesClass, text } from "./frame.ts";
import type { BarPlot } from "./plot.ts";
import { formatValue, linearScale, logScale } from "./scales.ts";
import { element, escapeText } from "./svg.ts";

/** Of a group's room, what the bars take. */
const filled = 0.8;
/** Names longer than their group's room would run into each other: they stand aslant. */
const pixelsPerCharacter = 7.5;

export function drawBars({ title, x, y, groups, series }: BarPlot): string {
  const area = layOut(series.map(({ name }) => name));
  const values = series.flatMap(({ bars }) =>
    bars.flatMap((bar) => (bar ? [bar.value, bar.low ?? bar.value, bar.high ?? bar.value] : [])),
  );
  const yScale = y.log ? logScale(values, area.bottom, area.top) : linearScale(values, area.bottom, area.top);
  const room = (area.right - area.left) / groups.length;
  // Where series share no group, a bar has its group's room for itself.
  const alone = groups.every((_, group) => series.filter(({ bars }) => bars[group] !== undefined).length <= 1);
  const barWidth = (room * filled) / (alone ? 1 : series.length);
  const floor = y.log ? area.bottom : yScale.place(0);
  const content = series.map((one, index) =>
    element(
      "g",
      { class: `series ${seriesClass(index)}` },
      ...one.bars.flatMap((bar, group) => {
        if (bar === undefined) return [];
        const left = area.left + room * (group + (1 - filled) / 2) + (alone ? 0 : barWidth * index);
        const top = yScale.place(bar.value);
        const told = `${one.name}, ${groups[group]}: ${formatValue(bar.value)} ${y.unit ?? ""}`.trimEnd();
        const box = { x: left, y: Math.min(top, floor), width: barWidth * 0.94, height: Math.abs(floor - top) };
        const middle = left + box.width / 2;
        const spread = bar.low !== undefined && bar.high !== undefined && bar.low !== bar.high;
        const summit = spread ? yScale.place(bar.high) : box.y;
        return [
          element("rect", { class: "mark", ...box }, element("title", {}, escapeText(told))),
          ...(spread ? [drawWhisker(middle, yScale.place(bar.low), summit)] : []),
          ...(barWidth >= 20
            ? [text(formatValue(Number(bar.value.toPrecision(3))), middle, summit - 5, "middle")]
            : []),
        ];
      }),
    ),
  );
  const slanted = groups.some((group) => group.length * pixelsPerCharacter > room);
  const xMarks = groups.map((group, i) => ({ at: area.left + room * (i + 0.5), text: slanted ? "" : group }));
  const names = slanted
    ? xMarks.map(({ at }, i) => {
        const place = `${Math.round(at * 100) / 100} ${area.bottom + 16}`;
        const [tx, ty] = place.split(" ");
        return element(
          "text",
          { x: Number(tx), y: Number(ty), "text-anchor": "end", transform: `rotate(-35 ${place})` },
          escapeText(groups[i]),
        );
      })
    : [];
  const extra = slanted ? Math.max(...groups.map((group) => group.length)) * 4 : 0;
  const grown = { ...area, height: area.height + extra };
  return drawFrame({ title, xLabel: x.label, xMarks, y, yScale }, grown, [...content, ...names]);
}
