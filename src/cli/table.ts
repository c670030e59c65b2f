/** Aligned columns and quantities for people. */

export interface Column<Row> {
  readonly title: string;
  readonly of: (row: Row) => string;
  readonly align?: "left" | "right";
}

const escape = String.fromCharCode(27);
const colourCodes = new RegExp(`${escape}\\[\\d+m`, "g");

/** In characters; colours take no room. */
export function shownWidth(text: string): number {
  return text.replace(colourCodes, "").length;
}

/** A line of titles and one per row; columns are two spaces apart, no line ends in spaces. */
export function formatTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const cells = [columns.map(({ title }) => title), ...rows.map((row) => columns.map(({ of }) => of(row)))];
  const widths = columns.map((_, i) => Math.max(...cells.map((line) => shownWidth(line[i]))));
  const lines = cells.map((line) =>
    line
      .map((cell, i) => {
        const space = " ".repeat(widths[i] - shownWidth(cell));
        return columns[i].align === "right" ? space + cell : cell + space;
      })
      .join("  ")
      .trimEnd(),
  );
  return lines.map((line) => `${line}\n`).join("");
}

/** At most `width` characters of a line, the last an ellipsis where some are missing; colours take no room. */
export function clip(line: string, width: number): string {
  if (shownWidth(line) <= width) return line;
  let room = Math.max(0, width - 1);
  // Codes and single characters: the codes are kept to the end, so that what was switched on is switched off.
  const parts = line.match(new RegExp(`${colourCodes.source}|.`, "gsu")) ?? [];
  const kept = parts.filter((part) => (part.length > 1 && part.startsWith(escape) ? true : room-- > 0));
  const lastShown = kept.findLastIndex((part) => !part.startsWith(escape));
  return kept.toSpliced(lastShown + 1, 0, width > 0 ? "…" : "").join("");
}

/** `10.0.0.1:80`, `[2001:db8::1]:80` */
export function formatEndpoint(address: string, port: number): string {
  return `${address.includes(":") ? `[${address}]` : address}:${port}`;
}

/** `1 234 567`: groups of three, thin enough to be read and copied. */
export function formatCount(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, " ");
}

/** `512 B`, `1.5 kB`, `20 MB`; powers of 1000. */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 99.95 ? Math.round(value) : Number(value.toFixed(1))} ${units[unit]}`;
}

/** Mbit/s with one decimal. */
export function formatMbit(mbit: number): string {
  return `${mbit.toFixed(1)} Mbit/s`;
}

/** `just now`, `5 min ago`, `3 h ago`, `2 d ago`. */
export function formatAge(sinceIso: string, nowMs = Date.now()): string {
  const minutes = Math.floor((nowMs - Date.parse(sinceIso)) / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min ago`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ago`;
  return `${Math.floor(minutes / (24 * 60))} d ago`;
}
