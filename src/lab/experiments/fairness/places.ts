/** Where connections meet: bottlenecks behind routers, and pairs of disjoint paths; each place has nothing of the others'. */
import type { HostSpec, LabSpec, LinkSpec } from "../../spec.ts";

/** Who shares a bottleneck: plain TCP connections, and one of MPTCP with so many subflows. */
export interface Contest {
  readonly tcps: number;
  readonly subflows: number;
}

export const bottleneck = { rateMbit: 10, rttMs: 40, queueMs: 40 } as const;
/** Two paths that share nothing; the first one is the better. */
export const disjoint = [
  { rateMbit: 10, rttMs: 20, queueMs: 40 },
  { rateMbit: 5, rttMs: 40, queueMs: 40 },
] as const;

/** A connection to be opened from `client` to `server`. */
export interface Ends {
  readonly client: string;
  readonly server: string;
  readonly address: string;
}

interface Place {
  readonly spec: LabSpec;
}

export interface Bottleneck extends Place, Contest {
  readonly tcp: Ends;
  readonly mptcp: Ends;
}

/** In front of the server's link stands a router that clients reach without limits. */
export function bottleneckPlace(index: number, { tcps, subflows }: Contest): Bottleneck {
  const name = (what: string) => `${what}${index}`;
  const [left, right, trunk, router, server] = ["left", "right", "trunk", "router", "server"].map(name);
  const [tcp, multi] = ["tcp", "multi"].map(name);
  const address = `10.3.${index}.2`;
  const toServer = `10.3.${index}.0/24`;
  // A client of one address joins on further ports of the server's.
  const announces = Array.from({ length: subflows - 1 }, (_, i) => ({ address, port: 7001 + i, link: trunk }));
  const hosts: Record<string, HostSpec> = {
    [tcp]: { routes: { [toServer]: left } },
    [multi]: { routes: { [toServer]: right } },
    [router]: { forwards: true },
    [server]: { announces, routes: { [`10.1.${index}.0/24`]: trunk, [`10.2.${index}.0/24`]: trunk } },
  };
  const links: LinkSpec[] = [
    { name: left, between: [tcp, router], ipv4: `10.1.${index}.0/24` },
    { name: right, between: [multi, router], ipv4: `10.2.${index}.0/24` },
    { name: trunk, between: [router, server], ipv4: toServer, ...bottleneck },
  ];
  const ends = (client: string): Ends => ({ client, server, address });
  return { tcps, subflows, tcp: ends(tcp), mptcp: ends(multi), spec: { hosts, links } };
}

export interface Pool extends Place {
  readonly ends: readonly Ends[];
}

const pathNetwork = (index: number, path: number) => `10.4.${2 * index + path}.0/24`;

/** One client and one server for each of the given sets of paths; a connection opens on the first of its set. */
export function poolPlace(sets: readonly (readonly (0 | 1)[])[]): Pool {
  const places = sets.map((paths, index) => ({ paths, client: `pc${index}`, server: `ps${index}`, index }));
  return {
    ends: places.map(({ paths, client, server, index }) => ({
      client,
      server,
      address: pathNetwork(index, paths[0]).replace(/0\/24$/, "2"),
    })),
    spec: {
      hosts: Object.fromEntries(
        places.flatMap(({ client, server }): [string, HostSpec][] => [
          [client, {}],
          [server, { endpoints: "signal" }],
        ]),
      ),
      links: places.flatMap(({ paths, client, server, index }) =>
        paths.map((path): LinkSpec => ({
          name: `path${index}${"ab"[path]}`,
          between: [client, server],
          ipv4: pathNetwork(index, path),
          ...disjoint[path],
        })),
      ),
    },
  };
}

export function together(places: readonly Place[]): LabSpec {
  return {
    hosts: Object.assign({}, ...places.map(({ spec }) => spec.hosts)) as LabSpec["hosts"],
    links: places.flatMap(({ spec }) => spec.links),
  };
}
