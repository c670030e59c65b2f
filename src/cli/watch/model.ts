/** MPTCP connections and their subflows as they are shown, made of what netlink and the chains tell. Pure. */
import { subflowFlags, type MptcpSocket, type TcpSocket, type TcpState } from "../../linux/diag.ts";
import type { SubflowMetrics } from "../../instack/metrics.ts";
import type { MptcpEvent } from "../../linux/mptcp-events.ts";
import type { SocketAddress } from "../../linux/sockaddr.ts";

export interface WatchedInterface {
  readonly name: string;
  readonly addresses: readonly string[];
}

/** A chain that runs in the namespace that is watched. */
export interface WatchedChain {
  readonly name: string;
  /** Interfaces whose packets it sees. */
  readonly interfaces: readonly string[];
  /** Whether it acts on this host's sockets. */
  readonly onSockets: boolean;
  /** What its policies keep of each flow, by `flowKey`: those that the chain has not met are not in it. */
  readonly flows?: ReadonlyMap<string, Readonly<Record<string, number>>>;
}

/** A flow by its ends. */
export function flowKey(local: SocketAddress, remote: SocketAddress): string {
  return `${local.address} ${local.port} ${remote.address} ${remote.port}`;
}

/** What was found at one moment. */
export interface Sample {
  /** Since 1970. */
  readonly timeMs: number;
  readonly sockets: readonly TcpSocket[];
  readonly connections: readonly MptcpSocket[];
  readonly interfaces: readonly WatchedInterface[];
  readonly chains: readonly WatchedChain[];
  /** What is measured in the stack, of this host's subflows, whatever namespace they are in. */
  readonly metrics: readonly SubflowMetrics[];
}

/** What congestion control in the stack measures of a subflow; units as in `SubflowMetrics`. */
export type Measured = Pick<
  SubflowMetrics,
  | "strategy"
  | "caState"
  | "cwnd"
  | "inFlight"
  | "srttUs"
  | "minRttUs"
  | "pacingRate"
  | "deliveryRate"
  | "delivered"
  | "lost"
  | "queuedBytes"
>;

/** What a chain's `record` counted, as seen on the wire. */
export interface Recorded {
  readonly chain: string;
  readonly packetsIn: number;
  readonly packetsOut: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly rttUs: number;
}

export interface Rates {
  /** Bits per second over the time since the sample before; absent in the first one. */
  readonly outBitsPerSecond?: number;
  readonly inBitsPerSecond?: number;
}

export interface WatchedSubflow extends Rates {
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly interface?: string;
  readonly state: TcpState;
  readonly localId: number;
  readonly remoteId: number;
  /** Who asked for the subflow to be used only when no other is left. */
  readonly backup?: "local" | "remote" | "both";
  readonly fullyEstablished: boolean;
  readonly congestionControl?: string;
  readonly rttUs: number;
  /** In segments. */
  readonly congestionWindow: number;
  readonly retransmits: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly chains: readonly string[];
  readonly recorded?: Recorded;
  /** Where congestion control in the stack measures it. */
  readonly measured?: Measured;
}

export interface WatchedConnection extends Rates {
  /** On this host. */
  readonly token: number;
  readonly state: TcpState;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly subflows: readonly WatchedSubflow[];
}

export interface WatchModel {
  readonly timeMs: number;
  readonly connections: readonly WatchedConnection[];
  /** The latest, oldest first. */
  readonly events: readonly MptcpEvent[];
  /** What cannot be shown, and why. */
  readonly notes: readonly string[];
}

/** Ends are used again by later sockets. */
const keyOf = ({ inode, local, remote }: TcpSocket): string => `${inode} ${flowKey(local, remote)}`;

/** What a sample is compared with. */
interface Earlier {
  readonly timeMs: number;
  readonly sockets: ReadonlyMap<string, TcpSocket>;
}

const isSubflow = ({ state, mptcp }: TcpSocket): boolean => mptcp !== undefined && state !== "listen";

function ratesOf(socket: TcpSocket, now: Sample, before: Earlier | undefined): Rates {
  const earlier = before?.sockets.get(keyOf(socket))?.tcp;
  const seconds = before ? (now.timeMs - before.timeMs) / 1000 : 0;
  if (!earlier || !socket.tcp || seconds <= 0) return {};
  const perSecond = (bytes: number) => Math.max(0, (8 * bytes) / seconds);
  return {
    outBitsPerSecond: perSecond(socket.tcp.bytesAcked - earlier.bytesAcked),
    inBitsPerSecond: perSecond(socket.tcp.bytesReceived - earlier.bytesReceived),
  };
}

function backupOf(flags: number): WatchedSubflow["backup"] {
  const local = (flags & subflowFlags.backupLocal) !== 0;
  const remote = (flags & subflowFlags.backupRemote) !== 0;
  if (local && remote) return "both";
  if (local) return "local";
  return remote ? "remote" : undefined;
}

/** A chain touches a subflow whose packets it sees, unless it keeps records of flows and has none of this one. */
function touches(chain: WatchedChain, socket: TcpSocket, carrier: string | undefined): boolean {
  if (chain.onSockets) return true;
  if (carrier === undefined || !chain.interfaces.includes(carrier)) return false;
  return chain.flows === undefined || chain.flows.has(flowKey(socket.local, socket.remote));
}

const recordedFields = ["packetsIn", "packetsOut", "bytesIn", "bytesOut", "rttUs"] as const;

function recordedOf(chains: readonly WatchedChain[], socket: TcpSocket): Recorded | undefined {
  for (const { name, flows } of chains) {
    const fields = flows?.get(flowKey(socket.local, socket.remote));
    if (!fields || !recordedFields.every((field) => field in fields)) continue;
    const { packetsIn, packetsOut, bytesIn, bytesOut, rttUs } = fields as unknown as Omit<Recorded, "chain">;
    return { chain: name, packetsIn, packetsOut, bytesIn, bytesOut, rttUs };
  }
  return undefined;
}

function measuredOf(metrics: Sample["metrics"], { local, remote, mptcp }: TcpSocket): Measured | undefined {
  // Namespaces may have the same addresses: tokens are the host's.
  const key = flowKey(local, remote);
  const found = metrics.find((one) => one.token === mptcp!.tokenLocal && flowKey(one.local, one.remote) === key);
  if (!found) return undefined;
  const { strategy, caState, cwnd, inFlight, srttUs, minRttUs, pacingRate, deliveryRate } = found;
  const { delivered, lost, queuedBytes } = found;
  return {
    strategy,
    caState,
    cwnd,
    inFlight,
    srttUs,
    minRttUs,
    pacingRate,
    deliveryRate,
    delivered,
    lost,
    queuedBytes,
  };
}

function subflowOf(socket: TcpSocket, now: Sample, before: Earlier | undefined): WatchedSubflow {
  const { local, remote, state, tcp, congestionControl } = socket;
  const mptcp = socket.mptcp!;
  const carrier = now.interfaces.find(({ addresses }) => addresses.includes(local.address))?.name;
  const backup = backupOf(mptcp.flags);
  const recorded = recordedOf(now.chains, socket);
  const measured = measuredOf(now.metrics, socket);
  return {
    local,
    remote,
    ...(carrier !== undefined && { interface: carrier }),
    state,
    localId: mptcp.idLocal,
    remoteId: mptcp.idRemote,
    ...(backup && { backup }),
    fullyEstablished: (mptcp.flags & subflowFlags.fullyEstablished) !== 0,
    ...(congestionControl !== undefined && { congestionControl }),
    rttUs: tcp?.rttUs ?? 0,
    congestionWindow: tcp?.sndCwnd ?? 0,
    retransmits: tcp?.totalRetrans ?? 0,
    sentBytes: tcp?.bytesAcked ?? 0,
    receivedBytes: tcp?.bytesReceived ?? 0,
    ...ratesOf(socket, now, before),
    chains: now.chains.filter((chain) => touches(chain, socket, carrier)).map(({ name }) => name),
    ...(recorded && { recorded }),
    ...(measured && { measured }),
  };
}

function sumRates(subflows: readonly WatchedSubflow[]): Rates {
  const known = subflows.filter(({ outBitsPerSecond }) => outBitsPerSecond !== undefined);
  if (known.length === 0) return {};
  return {
    outBitsPerSecond: known.reduce((sum, { outBitsPerSecond = 0 }) => sum + outBitsPerSecond, 0),
    inBitsPerSecond: known.reduce((sum, { inBitsPerSecond = 0 }) => sum + inBitsPerSecond, 0),
  };
}

/** Connections in no particular order, their subflows by address ids. `before` is what rates are measured against. */
export function connectionsOf(now: Sample, before?: Sample): WatchedConnection[] {
  const byToken = new Map<number, TcpSocket[]>();
  const earlier = before && {
    timeMs: before.timeMs,
    sockets: new Map(before.sockets.map((socket) => [keyOf(socket), socket])),
  };
  for (const socket of now.sockets) {
    if (!isSubflow(socket)) continue;
    const { tokenLocal } = socket.mptcp!;
    byToken.set(tokenLocal, [...(byToken.get(tokenLocal) ?? []), socket]);
  }
  return [...byToken].map(([token, sockets]) => {
    const whole = now.connections.find(({ info }) => info.token === token);
    const subflows = sockets
      .map((socket) => subflowOf(socket, now, earlier))
      .sort((a, b) => a.localId - b.localId || a.remoteId - b.remoteId || a.local.port - b.local.port);
    return {
      token,
      state: whole?.state ?? subflows[0].state,
      sentBytes: whole?.info.bytesSent ?? subflows.reduce((sum, one) => sum + one.sentBytes, 0),
      receivedBytes: whole?.info.bytesReceived ?? subflows.reduce((sum, one) => sum + one.receivedBytes, 0),
      ...sumRates(subflows),
      subflows,
    };
  });
}

export const orders = ["rate", "bytes", "rtt", "address"] as const;
export type Order = (typeof orders)[number];

const rateOf = ({ outBitsPerSecond = 0, inBitsPerSecond = 0 }: Rates): number => outBitsPerSecond + inBitsPerSecond;
const bytesOf = (one: WatchedConnection): number => one.sentBytes + one.receivedBytes;
const rttOf = ({ subflows }: WatchedConnection): number => Math.min(...subflows.map(({ rttUs }) => rttUs));
const addressOf = ({ subflows: [{ remote, local }] }: WatchedConnection): string =>
  `${remote.address} ${remote.port} ${local.address} ${local.port}`;

const comparisons: Readonly<Record<Order, (a: WatchedConnection, b: WatchedConnection) => number>> = {
  // Idle connections all have a rate of zero or nearly so: they should not dance.
  rate: (a, b) => Math.round(rateOf(b) / 1e5) - Math.round(rateOf(a) / 1e5),
  bytes: (a, b) => bytesOf(b) - bytesOf(a),
  rtt: (a, b) => rttOf(a) - rttOf(b),
  address: (a, b) => addressOf(a).localeCompare(addressOf(b), "en", { numeric: true }),
};

/** The busiest, the largest, the nearest first; those that are alike by their tokens. */
export function sorted(connections: readonly WatchedConnection[], order: Order): WatchedConnection[] {
  return [...connections].sort((a, b) => comparisons[order](a, b) || a.token - b.token);
}
