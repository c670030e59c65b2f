/** Connections and subflows as a person names and reads them. Pure. */
import { createColors } from "picocolors";
import type { ConnectionState, SubflowState } from "../linux/connections.ts";
import { formatIpAddress, parseIpAddress } from "../wire/ip.ts";
import { CommandError, UsageError } from "./errors.ts";
import { matchesFlow, parseFlow, type Endpoint } from "./flow-filter.ts";
import { formatBytes, formatTable, type Column } from "./table.ts";
import { formatEnd, formatToken } from "./watch/render.ts";

/** @throws UsageError */
export function parseToken(text: string): number {
  if (/^(0x)?[0-9a-f]{1,8}$/i.test(text)) return Number.parseInt(text.replace(/^0x/i, ""), 16);
  throw new UsageError(
    `Cannot tell which connection ${text} means: give its token, for example 1a2b3c4d; emptcp paths connections lists them`,
  );
}

/** `LOCAL[:PORT][,REMOTE[:PORT]]` @throws UsageError */
export function parseEnds(text: string): readonly Endpoint[] {
  const ends = parseFlow(text);
  if (ends) return ends;
  throw new UsageError(
    `Cannot tell which addresses ${text} means: give one or two ends, for example 10.0.1.1:40000,10.0.9.1:443`,
  );
}

/** An IP address in its usual form. @throws UsageError */
export function readAddress(text: string): string {
  try {
    return formatIpAddress(parseIpAddress(text));
  } catch {
    throw new UsageError(`Cannot use ${text}: give an IP address, for example 10.0.2.1 or 2001:db8::1`);
  }
}

export const describeEnds = ({ local, remote }: Pick<SubflowState, "local" | "remote">): string =>
  `${formatEnd(local)} > ${formatEnd(remote)}`;

/** @throws CommandError */
export function chooseConnection(connections: readonly ConnectionState[], token: number): ConnectionState {
  const found = connections.find((one) => one.token === token);
  if (found) return found;
  throw new CommandError(
    `There is no connection ${formatToken(token)}; emptcp paths connections lists those that are open`,
  );
}

/** The one subflow with such ends. @throws CommandError, which names those that are there */
export function chooseSubflow({ token, subflows }: ConnectionState, text: string): SubflowState {
  const flow = parseEnds(text);
  const found = subflows.filter(({ local, remote }) =>
    matchesFlow(
      { source: local.address, sourcePort: local.port, destination: remote.address, destinationPort: remote.port },
      flow,
    ),
  );
  if (found.length === 1) return found[0];
  const [those, what] = found.length === 0 ? [subflows, "No"] : [found, "More than one"];
  throw new CommandError(
    `${what} subflow of connection ${formatToken(token)} is ${text}: there are ${those.map(describeEnds).join(", ")}`,
  );
}

type Row = { readonly connection: ConnectionState; readonly subflow?: SubflowState };

const role = ({ serverSide }: ConnectionState): string =>
  serverSide === undefined ? "" : serverSide ? "  as server" : "  as client";

const milliseconds = (us: number): string => (us === 0 ? "-" : `${(us / 1000).toFixed(1)} ms`);

function rate(bytesPerSecond: number): string {
  if (bytesPerSecond === 0) return "-";
  return bytesPerSecond === Infinity ? "no limit" : `${((8 * bytesPerSecond) / 1e6).toFixed(1)} Mbit/s`;
}

/** A column that says nothing of a connection as a whole. */
const ofTcp = (title: string, of: (tcp: NonNullable<SubflowState["tcp"]>) => string): Column<Row> => ({
  title,
  of: ({ subflow }) => (subflow ? (subflow.tcp ? of(subflow.tcp) : "-") : ""),
  align: "right",
});

/** A line for each connection, and one for each of its subflows. */
export function connectionTable(connections: readonly ConnectionState[], colour: boolean): string {
  const paint = createColors(colour);
  const rows = connections.flatMap((connection): Row[] => [
    { connection },
    ...connection.subflows.map((subflow) => ({ connection, subflow })),
  ]);
  const columns: Column<Row>[] = [
    {
      title: "CONNECTION, SUBFLOWS",
      of: ({ connection, subflow }) =>
        subflow ? `  ${describeEnds(subflow)}` : paint.bold(`${formatToken(connection.token)}${role(connection)}`),
    },
    { title: "STATE", of: ({ connection, subflow }) => (subflow ?? connection).state },
    { title: "IDS", of: ({ subflow }) => (subflow ? `${subflow.localId}/${subflow.remoteId}` : "") },
    { title: "PRIORITY", of: ({ subflow }) => (subflow ? (subflow.backup ? paint.yellow("backup") : "normal") : "") },
    ofTcp("RTT", ({ rttUs }) => milliseconds(rttUs)),
    ofTcp("RTO", ({ rtoUs }) => milliseconds(rtoUs)),
    ofTcp("CWND", ({ sndCwnd }) => String(sndCwnd)),
    ofTcp("PACING", ({ pacingRateBytesPerSecond }) => rate(pacingRateBytesPerSecond)),
    ofTcp("DELIVERY", ({ deliveryRateBytesPerSecond }) => rate(deliveryRateBytesPerSecond)),
    ofTcp("RETR", ({ totalRetrans }) => (totalRetrans > 0 ? paint.red(String(totalRetrans)) : "0")),
    {
      title: "ACKED",
      of: ({ connection, subflow }) =>
        formatBytes(subflow ? (subflow.tcp?.bytesAcked ?? 0) : connection.info.bytesAcked),
      align: "right",
    },
    {
      title: "TO ACK",
      of: ({ connection, subflow }) => (subflow ? "" : formatBytes(connection.info.unackedBytes)),
      align: "right",
    },
  ];
  return formatTable(columns, rows);
}
