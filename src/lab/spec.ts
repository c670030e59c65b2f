/** What a lab is made of, as data: hosts, and links between pairs of them. */

/** One direction of a link. Everything absent is unlimited, immediate and lossless. */
export type DirectionSpec = {
  /** Ethernet frames without their checksum, as the queue discipline counts them. */
  readonly rateMbit?: number;
  readonly delayMs?: number;
  /** Each packet's delay varies evenly by up to this much either way; packets keep their order. */
  readonly jitterMs?: number;
  /** Of packets, independently of each other. */
  readonly lossPercent?: number;
  /** What the bottleneck's queue holds, as time at the link's rate. Default: 1.5 × the round trip, at least 50 ms. */
  readonly queueMs?: number;
};

export type LinkSpec = Omit<DirectionSpec, "delayMs"> & {
  /** Also the name of the interface in both hosts: up to 12 characters. */
  readonly name: string;
  /** Two different hosts. `forward` is from the first to the second. */
  readonly between: readonly [string, string];
  /** Half of it each way. */
  readonly rttMs?: number;
  /** Exceptions for one direction. */
  readonly forward?: DirectionSpec;
  readonly backward?: DirectionSpec;
  /** A /24 or wider; the hosts get its first two addresses. Default: 10.0.N.0/24 for the N-th link. */
  readonly ipv4?: string;
  /** A /64 or wider. Default: fd00:N::/64. */
  readonly ipv6?: string;
  /** Let frames of up to 64 KB through whole. Default: only above 200 Mbit/s, and never with loss. */
  readonly largeFrames?: boolean;
};

export type EndpointRole = "signal" | "subflow" | "fullmesh" | "none";

export type HostSpec = {
  /** How the host's addresses take part: `signal` announces them to the peer, `subflow` opens subflows from them. */
  readonly endpoints?: EndpointRole;
  /** Family of the addresses that take part: 4 unless said otherwise. */
  readonly family?: 4 | 6;
  /** Subflows beyond the first one. Default 8, the kernel's maximum. */
  readonly maxSubflows?: number;
  /** Announced addresses that it follows. Default 8. */
  readonly maxAcceptedAddresses?: number;
  /** When an unanswered announcement is repeated (net.mptcp.add_addr_timeout), in seconds. */
  readonly addAddrTimeoutSeconds?: number;
  /** More IPv4 addresses, each alone in its network: address → link, e.g. `{ "10.9.0.1": "lan" }`. */
  readonly addresses?: Readonly<Record<string, string>>;
  /**
   * IPv4 networks behind other hosts: prefix → link whose other end forwards to it; of several links, each flow keeps to one
   * by its ports.
   */
  readonly routes?: Readonly<Record<string, string | readonly string[]>>;
  /** Passes on what is not for itself (IPv4). */
  readonly forwards?: true;
  /** Announced to peers beside what `endpoints` says. With a port, the kernel takes joins there too. */
  readonly announces?: readonly {
    readonly address: string;
    readonly link: string;
    readonly port?: number;
    /** By which the peer knows the address, from 1; the kernel chooses unless told. */
    readonly id?: number;
  }[];
  /** More settings of its namespace, e.g. `{ "net.ipv4.tcp_notsent_lowat": 131072 }`. */
  readonly sysctls?: Readonly<Record<string, string | number>>;
};

export type LabSpec = {
  readonly hosts: Readonly<Record<string, HostSpec>>;
  readonly links: readonly LinkSpec[];
};

/** A phone and a server: 40 Mbit/s at 20 ms, 20 Mbit/s at 50 ms. */
export const wifiAndLte: LabSpec = {
  hosts: { client: {}, server: { endpoints: "signal" } },
  links: [
    { name: "wifi", between: ["client", "server"], rateMbit: 40, rttMs: 20 },
    { name: "lte", between: ["client", "server"], rateMbit: 20, rttMs: 50 },
  ],
};

export type Direction = "forward" | "backward";

/** One direction with every value settled. */
export type Conditions = {
  /** Infinity: no limit. */
  readonly rateMbit: number;
  readonly delayMs: number;
  readonly jitterMs: number;
  readonly lossPercent: number;
  readonly queueMs: number;
};

/** Values of one direction. @throws RangeError that names link and value. */
export function conditionsOf(link: LinkSpec, direction: Direction): Conditions {
  const own = link[direction] ?? {};
  const delayOf = (spec: DirectionSpec | undefined) => spec?.delayMs ?? (link.rttMs ?? 0) / 2;
  const rttMs = delayOf(link.forward) + delayOf(link.backward);
  const value: Conditions = {
    rateMbit: own.rateMbit ?? link.rateMbit ?? Infinity,
    delayMs: delayOf(own),
    jitterMs: own.jitterMs ?? link.jitterMs ?? 0,
    lossPercent: own.lossPercent ?? link.lossPercent ?? 0,
    queueMs: own.queueMs ?? link.queueMs ?? Math.max(50, 1.5 * rttMs),
  };
  const ranges = {
    rateMbit: [0.05, Infinity],
    delayMs: [0, 10_000],
    jitterMs: [0, value.delayMs],
    lossPercent: [0, 100],
    queueMs: [1, 60_000],
  } as const;
  for (const [name, [low, high]] of Object.entries(ranges) as [keyof Conditions, [number, number]][]) {
    if (!(value[name] >= low && value[name] <= high)) {
      throw new RangeError(`Cannot use link ${link.name}: ${name} ${value[name]} is not within ${low} to ${high}`);
    }
  }
  return value;
}

/** @throws RangeError for names that cannot be interfaces, unknown hosts and names used twice. */
export function checkLabSpec(spec: LabSpec): void {
  const hosts = Object.keys(spec.hosts);
  for (const [host, { addresses, routes, announces }] of Object.entries(spec.hosts)) {
    const used = [...Object.values(addresses ?? {}), ...Object.values(routes ?? {}).flat()];
    for (const link of [...used, ...(announces ?? []).map((one) => one.link)]) {
      if (!spec.links.some(({ name, between }) => name === link && between.includes(host)))
        throw new RangeError(`Cannot use host ${host}: it has no link ${link}`);
    }
    if (!/^[a-z][a-z0-9]{0,15}$/.test(host) || host === "wire") {
      throw new RangeError(`Cannot use host name ${host}: lower-case letters and digits only, and not "wire"`);
    }
  }
  const seen = new Set<string>();
  for (const { name, between } of spec.links) {
    if (!/^[a-z][a-z0-9]{0,11}$/.test(name) || name === "lo") {
      throw new RangeError(`Cannot use link name ${name}: up to 12 lower-case letters and digits`);
    }
    if (seen.has(name)) throw new RangeError(`Cannot use link name ${name}: used twice`);
    seen.add(name);
    for (const host of between) {
      if (!hosts.includes(host)) throw new RangeError(`Cannot use link ${name}: no host ${host}`);
    }
    if (between[0] === between[1]) throw new RangeError(`Cannot use link ${name}: both ends are at ${between[0]}`);
  }
  if (spec.links.length > 200) throw new RangeError("Cannot use lab: more than 200 links");
}
