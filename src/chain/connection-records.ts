/** What `record` keeps of subflows, summed up by the connection they belong to. */
import type { FlowRecord } from "./state.ts";

/** Fields that add up over subflows. */
const sums = [
  "packetsIn",
  "bytesIn",
  "packetsOut",
  "bytesOut",
  "payloadIn",
  "payloadOut",
  "retransmittedIn",
  "retransmittedOut",
] as const;
/** Measurements of which the least tells of the connection; 0 is none. */
const leasts = ["rttUs", "dataRttUs"] as const;

/** Counts of packets and bytes, round-trip times in µs; 0 where `record` does not measure something. */
export type ConnectionRecord = Readonly<Record<(typeof sums)[number] | (typeof leasts)[number], number>> & {
  readonly tokenLocal: number;
  readonly tokenRemote: number;
  readonly subflows: number;
};

/** Connections in the order of their first subflow; subflows whose connection is not known are left out. */
export function byConnection(flows: readonly FlowRecord[]): ConnectionRecord[] {
  const groups = new Map<number, FlowRecord[]>();
  for (const flow of flows) {
    // Of an older connection's subflows some are known by one token only.
    const token = flow.fields["tokenLocal"] || flow.fields["tokenRemote"];
    if (token) groups.set(token, [...(groups.get(token) ?? []), flow]);
  }
  return [...groups.values()].map((members) => {
    const values = (field: string): number[] => members.map(({ fields }) => fields[field] ?? 0);
    const token = (field: string): number => values(field).find((value) => value !== 0) ?? 0;
    const sum = (field: string): number => values(field).reduce((total, value) => total + value, 0);
    const least = (field: string): number => Math.min(...values(field).filter((value) => value !== 0), Infinity);
    return {
      tokenLocal: token("tokenLocal"),
      tokenRemote: token("tokenRemote"),
      subflows: members.length,
      ...(Object.fromEntries(sums.map((field) => [field, sum(field)])) as Record<(typeof sums)[number], number>),
      ...(Object.fromEntries(
        leasts.map((field) => [field, Number.isFinite(least(field)) ? least(field) : 0]),
      ) as Record<(typeof leasts)[number], number>),
    };
  });
}
