/** Counters of a lab: what each link carried, and what the hosts' MPTCP stacks counted. */
import { readFileSync } from "node:fs";
import { parseDeviceCounters, type Traffic } from "../../linux/interfaces.ts";
import { withNetns, type NetworkNamespace } from "../../linux/netns.ts";
import type { Lab } from "../lab.ts";
import { directions, wire } from "../plan.ts";
import type { Direction } from "../spec.ts";

export { parseDeviceCounters, type Traffic } from "../../linux/interfaces.ts";

export type LinkCounters = {
  /** What entered the link, behind the sender's rate limit; Ethernet frames. */
  readonly sent: Traffic;
  /** What reached the other host. */
  readonly delivered: Traffic;
};

export type LabCounters = Readonly<Record<string, Readonly<Record<Direction, LinkCounters>>>>;

/** Of every link since it was made, by its name and direction. */
export function readLinkCounters(lab: Lab): LabCounters {
  const ports = parseDeviceCounters(readProc(lab.netnsOf(wire), "dev"));
  const none = { received: { bytes: 0, packets: 0 }, sent: { bytes: 0, packets: 0 } };
  return Object.fromEntries(
    lab.links.map((link) => {
      const perDirection = directions.map((direction) => {
        const [from, to] = direction === "forward" ? link.ends : [link.ends[1], link.ends[0]];
        // The wire receives on the sender's port and sends on the other one.
        const sent = (ports.get(from.portName) ?? none).received;
        return [direction, { sent, delivered: (ports.get(to.portName) ?? none).sent }] as const;
      });
      return [link.name, Object.fromEntries(perDirection) as Record<Direction, LinkCounters>];
    }),
  );
}

/** The MPTCP counters of a host since it was made, by the kernel's names, e.g. `MPCapableSYNTX` (net/mptcp/mib.c). */
export function readMptcpCounters(lab: Lab, host: string): Readonly<Record<string, number>> {
  return parseNetstat(readProc(lab.host(host).netns, "netstat"), "MPTcpExt");
}

/** The TCP counters of a host since it was made, by the kernel's names, e.g. `RetransSegs` (RFC 4022). */
export function readTcpCounters(lab: Lab, host: string): Readonly<Record<string, number>> {
  return parseNetstat(readProc(lab.host(host).netns, "snmp"), "Tcp");
}

/** One group of /proc/net/netstat or /proc/net/snmp: a line of names, a line of values. */
export function parseNetstat(text: string, group: string): Record<string, number> {
  const [names = [], values = []] = text
    .split("\n")
    .filter((line) => line.startsWith(`${group}:`))
    .map((line) => line.split(/\s+/).slice(1));
  return Object.fromEntries(names.map((name, i) => [name, Number(values[i])]));
}

/** /proc/self/net would show the namespace of the process's first thread. */
function readProc(netns: NetworkNamespace, file: string): string {
  return withNetns(netns, () => readFileSync(`/proc/thread-self/net/${file}`, "utf8"));
}

export type PathSample = {
  readonly elapsedMs: number;
  /** Mbit/s delivered since the last sample, by link and direction. */
  readonly mbit: Readonly<Record<string, Readonly<Record<Direction, number>>>>;
};

/** Calls `onSample` with the throughput of each link, every `everyMs`. Returns a function that stops it. */
export function samplePaths(lab: Lab, everyMs: number, onSample: (sample: PathSample) => void): () => void {
  const startedAt = performance.now();
  let last = { at: startedAt, counters: readLinkCounters(lab) };
  const timer = setInterval(() => {
    const now = { at: performance.now(), counters: readLinkCounters(lab) };
    onSample({ elapsedMs: now.at - startedAt, mbit: throughput(last, now) });
    last = now;
  }, everyMs);
  return () => clearInterval(timer);
}

type Reading = { readonly at: number; readonly counters: LabCounters };

/** Mbit/s delivered between two readings. */
export function throughput(before: Reading, after: Reading): PathSample["mbit"] {
  const elapsedMs = after.at - before.at;
  return Object.fromEntries(
    Object.entries(after.counters).map(([link, counters]) => {
      const rate = (direction: Direction) =>
        ((counters[direction].delivered.bytes - (before.counters[link]?.[direction].delivered.bytes ?? 0)) * 8) /
        1000 /
        elapsedMs;
      return [link, { forward: rate("forward"), backward: rate("backward") }];
    }),
  );
}
