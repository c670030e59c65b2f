/** Clients and servers behind pairs of routers that spread flows over four paths. */
import type { HostSpec, LabSpec, LinkSpec } from "../../spec.ts";

/** Each way; the paths are alike but for that. */
export const delaysMs = [10, 20, 30, 40] as const;
export const pathMbit = 8;

/** A client, a server, and the routers and paths between them, which nobody else uses. */
export interface Place {
  readonly client: string;
  readonly server: string;
  readonly address: string;
  /** Links, in the order of `delaysMs`. */
  readonly paths: readonly string[];
  readonly spec: LabSpec;
}

export function placeOf(index: number): Place {
  const [client, near, far, server] = ["client", "near", "far", "server"].map((what) => `${what}${index}`);
  const [access, lan] = ["access", "lan"].map((what) => `${what}${index}`);
  const paths = delaysMs.map((delayMs) => `path${index}x${delayMs}`);
  const [clients, servers] = [`10.1.${index}.0/24`, `10.2.${index}.0/24`];
  const hosts: Record<string, HostSpec> = {
    [client]: { routes: { [servers]: access }, sysctls: { "net.mptcp.path_manager": "userspace" } },
    [near]: { forwards: true, routes: { [servers]: paths } },
    [far]: { forwards: true, routes: { [clients]: paths } },
    [server]: { routes: { [clients]: lan } },
  };
  const links: LinkSpec[] = [
    { name: access, between: [client, near], ipv4: clients },
    { name: lan, between: [far, server], ipv4: servers },
    ...delaysMs.map((delayMs, i): LinkSpec => ({
      name: paths[i],
      between: [near, far],
      rateMbit: pathMbit,
      rttMs: 2 * delayMs,
      ipv4: `10.3.${index * delaysMs.length + i}.0/24`,
    })),
  ];
  return { client, server, address: `10.2.${index}.2`, paths, spec: { hosts, links } };
}

/** All of them in one lab. */
export function together(places: readonly Place[]): LabSpec {
  return {
    hosts: Object.assign({}, ...places.map(({ spec }) => spec.hosts)) as LabSpec["hosts"],
    links: places.flatMap(({ spec }) => spec.links),
  };
}
