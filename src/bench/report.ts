/** Results as rows: the same ones for the table and for JSON. */

/** A chain on one packet hook; `baseline` and `ratio` are null where there is no clang. */
export interface PacketRow {
  readonly name: string;
  readonly nsPerPacket: number;
  readonly baseline: number | null;
  readonly ratio: number | null;
}
export interface DurationRow {
  readonly name: string;
  readonly ms: number;
  /** Of changes: how many fit into a second. */
  readonly perSecond?: number;
}
/** Congestion control; `baseline` is what the kernel's own takes when programs call it. */
export interface AckRow {
  readonly name: string;
  readonly nsPerAck: number;
  readonly baseline: number;
  readonly ratio: number;
}
/** One record of a map; `baseline` is the same by a system call. */
export interface ReadRow {
  readonly name: string;
  readonly nsPerRead: number;
  readonly baseline: number;
  readonly ratio: number;
}
/** `baseline` is the transfer without what is measured; the ratio is what is left of it. */
export interface ThroughputRow {
  readonly name: string;
  readonly mbitPerSecond: number;
  readonly baseline: number;
  readonly ratio: number;
}
/** Something counted or measured in its own unit; null where there is no baseline, or nothing to divide by. */
export interface QuantityRow {
  readonly name: string;
  readonly quantity: number;
  readonly unit: string;
  readonly baseline: number | null;
  readonly ratio: number | null;
}
export type Row = PacketRow | AckRow | ReadRow | DurationRow | ThroughputRow | QuantityRow;

export function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

function cells(row: Row): string[] {
  if ("ms" in row) {
    const ms = `${row.ms.toFixed(row.ms < 1 ? 4 : 1)} ms`;
    return [row.name, ms, row.perSecond === undefined ? "" : `${row.perSecond.toFixed(0)}/s`, ""];
  }
  const ratio = row.ratio === null ? "-" : row.ratio.toFixed(3);
  if ("unit" in row) {
    const [quantity, baseline] = [row.quantity, row.baseline].map((value) =>
      value === null ? "-" : `${value} ${row.unit}`.trimEnd(),
    );
    return [row.name, quantity, baseline, ratio];
  }
  if ("mbitPerSecond" in row)
    return [row.name, `${row.mbitPerSecond.toFixed(0)} Mbit/s`, `${row.baseline.toFixed(0)} Mbit/s`, ratio];
  const baseline = row.baseline === null ? "-" : `${row.baseline.toFixed(1)} ns`;
  const ns = "nsPerPacket" in row ? row.nsPerPacket : "nsPerAck" in row ? row.nsPerAck : row.nsPerRead;
  return [row.name, `${ns.toFixed(1)} ns`, baseline, ratio];
}

/** Names to the left, numbers to the right. */
export function formatTable(rows: readonly Row[]): string {
  const table = [["", "measured", "baseline", "ratio"], ...rows.map(cells)];
  const widths = table[0].map((_, column) => Math.max(...table.map((row) => row[column].length)));
  return table
    .map((row) =>
      row
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column])))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
