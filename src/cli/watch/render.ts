/** The live view as lines of text: a function of the model, the size of the terminal and where a person has scrolled to. Pure. */
import { createColors } from "picocolors";
import type { MptcpEvent } from "../../linux/mptcp-events.ts";
import type { SocketAddress } from "../../linux/sockaddr.ts";
import { clip, formatBytes, formatCount, formatEndpoint, formatTable, shownWidth, type Column } from "../table.ts";
import {
  sorted,
  type Measured,
  type Order,
  type WatchedConnection,
  type WatchedSubflow,
  type WatchModel,
} from "./model.ts";

export interface View {
  /** In characters. */
  readonly width: number;
  readonly height: number;
  /** Lines of the table that are above the window. */
  readonly scroll: number;
  readonly order: Order;
  readonly colour: boolean;
  /** What is watched, for the title: `namespace client, every 1 s`. */
  readonly title: string;
}

type Row = { readonly connection: WatchedConnection; readonly subflow?: WatchedSubflow };
type Paint = ReturnType<typeof createColors>;

/** Tokens as the kernel's tools print them. */
export function formatToken(token: number): string {
  return token.toString(16).padStart(8, "0");
}

export const formatEnd = ({ address, port }: SocketAddress): string => formatEndpoint(address, port);

function formatRate(bitsPerSecond: number | undefined): string {
  if (bitsPerSecond === undefined) return "-";
  const units = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"];
  let value = bitsPerSecond;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value.toFixed(unit === 0 || value >= 99.95 ? 0 : 1)} ${units[unit]}`;
}

const formatRtt = (rttUs: number): string => (rttUs === 0 ? "-" : `${(rttUs / 1000).toFixed(1)} ms`);

const backups = { local: "backup", remote: "backup (peer)", both: "backup (both)" } as const;

/** A column that says nothing of a connection as a whole. */
const ofSubflow = (title: string, of: (subflow: WatchedSubflow) => string, align?: "right"): Column<Row> => ({
  title,
  of: ({ subflow }) => (subflow ? of(subflow) : ""),
  ...(align && { align }),
});

const ofMeasured = (title: string, of: (measured: Measured) => string, align?: "right"): Column<Row> =>
  ofSubflow(title, ({ measured }) => (measured ? of(measured) : "-"), align);

/** Where congestion control in the stack measures. */
const measuredColumns: readonly Column<Row>[] = [
  ofMeasured("STRATEGY", ({ strategy }) => strategy),
  ofMeasured("IN FLIGHT", ({ inFlight }) => String(inFlight), "right"),
  ofMeasured("PACING", ({ pacingRate }) => formatRate(8 * pacingRate), "right"),
  ofMeasured("DELIVERED", ({ delivered }) => formatCount(delivered), "right"),
  ofMeasured("LOST", ({ lost }) => formatCount(lost), "right"),
];

function columnsOf(rows: readonly Row[], paint: Paint): Column<Row>[] {
  const recorded = rows.some(({ subflow }) => subflow?.recorded);
  const measured = rows.some(({ subflow }) => subflow?.measured);
  return [
    {
      title: "CONNECTION, SUBFLOWS",
      of: ({ connection: { token, subflows }, subflow }) =>
        subflow
          ? `  ${(subflow.interface ?? "").padEnd(5)} ${formatEnd(subflow.local)} > ${formatEnd(subflow.remote)}`
          : paint.bold(`${formatToken(token)}  ${plural(subflows.length, "subflow")}`),
    },
    { title: "STATE", of: ({ connection, subflow }) => (subflow ?? connection).state },
    ofSubflow("IDS", ({ localId, remoteId }) => `${localId}/${remoteId}`),
    ofSubflow("PRIORITY", ({ backup }) => (backup ? paint.yellow(backups[backup]) : "normal")),
    ofSubflow("RTT", ({ rttUs }) => formatRtt(rttUs), "right"),
    ofSubflow("CWND", ({ congestionWindow }) => String(congestionWindow), "right"),
    ofSubflow("RETR", ({ retransmits }) => (retransmits > 0 ? paint.red(String(retransmits)) : "0"), "right"),
    { title: "OUT", of: (row) => formatRate((row.subflow ?? row.connection).outBitsPerSecond), align: "right" },
    { title: "IN", of: (row) => formatRate((row.subflow ?? row.connection).inBitsPerSecond), align: "right" },
    { title: "SENT", of: (row) => formatBytes((row.subflow ?? row.connection).sentBytes), align: "right" },
    { title: "RECEIVED", of: (row) => formatBytes((row.subflow ?? row.connection).receivedBytes), align: "right" },
    ...(recorded
      ? [ofSubflow("RECORDED RTT", (one) => (one.recorded ? formatRtt(one.recorded.rttUs) : "-"), "right")]
      : []),
    ...(measured ? measuredColumns : []),
    ofSubflow("CHAINS", ({ chains }) => (chains.length > 0 ? paint.cyan(chains.join(", ")) : "-")),
  ];
}

/** What is left out first where a line is too narrow for all. */
const dispensable = [
  "SENT",
  "RECEIVED",
  "RETR",
  "RECORDED RTT",
  "DELIVERED",
  "CWND",
  "STATE",
  "PRIORITY",
  "PACING",
  "LOST",
  "IN FLIGHT",
];

/** A title line and one for each connection and subflow; columns that do not fit into `width` are left out. */
export function tableLines(model: WatchModel, order: Order, colour: boolean, width = Infinity): string[] {
  const paint = createColors(colour);
  const rows = sorted(model.connections, order).flatMap((connection): Row[] => [
    { connection },
    ...connection.subflows.map((subflow) => ({ connection, subflow })),
  ]);
  let columns = columnsOf(rows, paint);
  const lines = () => formatTable(columns, rows).trimEnd().split("\n");
  for (const title of dispensable) {
    if (lines().every((line) => shownWidth(line) <= width)) break;
    columns = columns.filter((column) => column.title !== title);
  }
  return lines();
}

/** `subflow_established  10.0.1.1:4000 > 10.0.1.2:80  ids 1/2  backup`. */
export function describeMptcpEvent(event: MptcpEvent): string {
  const { kind, local, remote, localId, remoteId, backup, error, errorName, resetReason, serverSide, denyJoinId0 } =
    event;
  const ids = localId === undefined ? `id ${remoteId}` : `ids ${localId}/${remoteId ?? "-"}`;
  const ends = [local, remote].filter((end) => end !== undefined).map(formatEnd);
  return [
    kind.padEnd(19),
    ...(ends.length > 0 ? [ends.join(" > ")] : []),
    ...(localId === undefined && remoteId === undefined ? [] : [ids]),
    ...(backup ? ["backup"] : []),
    ...(serverSide ? ["as server"] : []),
    ...(denyJoinId0 ? ["no joins to the first address"] : []),
    ...(error ? [`error ${errorName ?? error}`] : []),
    ...(resetReason === undefined ? [] : [`reset reason ${resetReason}`]),
  ].join("  ");
}

export const formatClock = (timeMs: number): string => new Date(timeMs).toTimeString().slice(0, 8);

const shownEvents = 5;
const help = "q quit   ↑↓ jk scroll   s sort";

const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;

function countOf({ connections }: WatchModel): string {
  const subflows = connections.reduce((sum, one) => sum + one.subflows.length, 0);
  return `${plural(connections.length, "connection")}, ${plural(subflows, "subflow")}`;
}

/** How far down a person can scroll. */
export function lastScroll(model: WatchModel, height: number): number {
  const rows = model.connections.reduce((sum, one) => sum + 1 + one.subflows.length, 0);
  return Math.max(0, rows - roomFor(model, height));
}

/** Lines left for rows: title, an empty line, the table's titles, notes, events with their title, help. */
function roomFor({ events, notes }: WatchModel, height: number): number {
  const eventLines = events.length > 0 ? Math.min(events.length, shownEvents) + 2 : 0;
  return Math.max(1, height - 4 - notes.length - eventLines);
}

/** The whole screen: at most `height` lines, none wider than `width`. */
export function renderScreen(model: WatchModel, view: View): string[] {
  const paint = createColors(view.colour);
  const [titles, ...rows] = tableLines(model, view.order, view.colour, view.width);
  const room = roomFor(model, view.height);
  const from = Math.min(view.scroll, lastScroll(model, view.height));
  const window = rows.slice(from, from + room);
  const hidden = rows.length - window.length;
  const counts = `${countOf(model)}, by ${view.order}`;
  const head = [paint.bold("emptcp watch"), formatClock(model.timeMs), counts, view.title].join("  ");
  const events = model.events.slice(-shownEvents).map(({ token, ...event }) => {
    const whose = token === undefined ? "-".padEnd(8) : formatToken(token);
    return `${formatClock(event.timeMs)}  ${whose}  ${describeMptcpEvent(event)}`;
  });
  const body = model.connections.length > 0 ? [paint.dim(titles), ...window] : ["No MPTCP connection"];
  const lines = [
    head,
    "",
    ...body,
    ...model.notes.map((note) => paint.yellow(note)),
    ...(events.length > 0 ? ["", paint.dim("PATH MANAGER"), ...events] : []),
  ];
  const foot = paint.dim(hidden > 0 ? `${help}   ${from + 1}-${from + window.length} of ${rows.length} lines` : help);
  const filled = [
    ...lines.slice(0, view.height - 1),
    ...Array<string>(Math.max(0, view.height - 1 - lines.length)).fill(""),
  ];
  return [...filled, foot].map((line) => clip(line, view.width));
}
