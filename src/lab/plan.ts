/** From a lab's data to the steps that build it: pure, so that it can be printed and tested without a kernel. */
import {
  checkLabSpec,
  conditionsOf,
  type Conditions,
  type Direction,
  type HostSpec,
  type LabSpec,
  type LinkSpec,
} from "./spec.ts";

export const tools = ["ip", "tc", "iptables", "ip6tables", "ethtool"] as const;
export type Tool = (typeof tools)[number];

/** Something to do inside the namespace of a host or of the wire. */
export type Step =
  | { readonly where: string; readonly tool: Tool; readonly args: readonly string[] }
  | { readonly where: string; readonly sysctl: string; readonly value: string };

export type PlannedEnd = {
  readonly host: string;
  /** The interface in the host, and the port it is plugged into in the wire. */
  readonly interfaceName: string;
  readonly portName: string;
  readonly mac: string;
  readonly ipv4: string;
  readonly ipv6: string;
};

export type PlannedLink = {
  readonly name: string;
  readonly ends: readonly [PlannedEnd, PlannedEnd];
  readonly conditions: Readonly<Record<Direction, Conditions>>;
  /** Numbers of the packet queues in the wire. */
  readonly queues: Readonly<Record<Direction, number>>;
  readonly largeFrames: boolean;
};

export type LabPlan = { readonly links: readonly PlannedLink[]; readonly steps: readonly Step[] };

/** The namespace between the hosts: one bridge per link. */
export const wire = "wire";
export const directions = ["forward", "backward"] as const satisfies readonly Direction[];

const frameBytes = 1514;
const largeFrameBytes = 65_550;

/** @throws RangeError when the data makes no sense. */
export function planLab(spec: LabSpec, namespaceOf: (where: string) => string): LabPlan {
  checkLabSpec(spec);
  const links = spec.links.map(planLink);
  const steps = [
    ...Object.entries(spec.hosts).flatMap(([name, host]) => hostSteps(name, host)),
    ...wireSteps(),
    ...links.flatMap((link) => linkSteps(link, namespaceOf)),
    ...Object.entries(spec.hosts).flatMap(([name, host]) => [
      ...routeSteps(name, host, links),
      ...endpointSteps(name, host, links),
    ]),
  ];
  return { links, steps };
}

function planLink(link: LinkSpec, index: number): PlannedLink {
  const number = index + 1;
  const conditions = { forward: conditionsOf(link, "forward"), backward: conditionsOf(link, "backward") };
  const lossy = directions.some((direction) => conditions[direction].lossPercent > 0);
  if (lossy && link.largeFrames === true) {
    throw new RangeError(`Cannot use link ${link.name}: loss is per packet, so large frames are not possible with it`);
  }
  const fast = directions.some((direction) => conditions[direction].rateMbit > 200);
  const end = (side: 0 | 1): PlannedEnd => ({
    host: link.between[side],
    interfaceName: link.name,
    portName: `${link.name}-${"ab"[side]}`,
    mac: `02:00:00:00:${number.toString(16).padStart(2, "0")}:0${side + 1}`,
    ipv4: hostAddress4(link.ipv4 ?? `10.0.${number}.0/24`, side + 1),
    ipv6: hostAddress6(link.ipv6 ?? `fd00:${number.toString(16)}::/64`, side + 1),
  });
  return {
    name: link.name,
    ends: [end(0), end(1)],
    conditions,
    queues: { forward: 2 * index, backward: 2 * index + 1 },
    largeFrames: link.largeFrames ?? (fast && !lossy),
  };
}

/** Address with prefix length. @throws RangeError unless it is a network address that leaves room for two hosts. */
function hostAddress4(prefix: string, host: number): string {
  const match = /^(\d+)\.(\d+)\.(\d+)\.(\d+)\/(\d+)$/.exec(prefix);
  const [a = 999, b = 999, c = 999, d = 999, length = 0] = match?.slice(1).map(Number) ?? [];
  if ([a, b, c, d].some((byte) => byte > 255) || length < 8 || length > 30 || (d & 3) !== 0) {
    throw new RangeError(`Cannot use prefix ${prefix}: not an IPv4 network such as 10.1.0.0/24`);
  }
  return `${a}.${b}.${c}.${d + host}/${length}`;
}

function hostAddress6(prefix: string, host: number): string {
  const match = /^([0-9a-f:]*)::\/(\d+)$/i.exec(prefix);
  if (match === null || Number(match[2]) > 64) {
    throw new RangeError(`Cannot use prefix ${prefix}: not an IPv6 network such as fd00:1::/64`);
  }
  return `${match[1]}::${host}/${match[2]}`;
}

const run = (where: string, tool: Tool, line: string): Step => ({ where, tool, args: line.split(" ") });
const set = (where: string, sysctl: string, value: string | number): Step => ({ where, sysctl, value: String(value) });

function hostSteps(name: string, host: HostSpec): Step[] {
  return [
    run(name, "ip", "link set dev lo up"),
    // Links are separate networks, yet a host may answer on one for an address of another.
    set(name, "net.ipv4.conf.all.rp_filter", 0),
    set(name, "net.ipv4.conf.default.rp_filter", 0),
    set(name, "net.ipv6.conf.default.accept_dad", 0),
    set(name, "net.ipv6.conf.default.router_solicitations", 0),
    // What one connection learnt about a path must not colour the next measurement.
    set(name, "net.ipv4.tcp_no_metrics_save", 1),
    set(name, "net.mptcp.enabled", 1),
    ...(host.addAddrTimeoutSeconds === undefined
      ? []
      : [set(name, "net.mptcp.add_addr_timeout", host.addAddrTimeoutSeconds)]),
    ...(host.forwards ? [set(name, "net.ipv4.ip_forward", 1)] : []),
    // Ports too decide which of several links a flow takes.
    ...(host.routes === undefined ? [] : [set(name, "net.ipv4.fib_multipath_hash_policy", 1)]),
    ...Object.entries(host.sysctls ?? {}).map(([key, value]) => set(name, key, value)),
    run(
      name,
      "ip",
      `mptcp limits set subflows ${host.maxSubflows ?? 8} add_addr_accepted ${host.maxAcceptedAddresses ?? 8}`,
    ),
  ];
}

/** Without addresses of its own the wire says nothing on the links. */
function wireSteps(): Step[] {
  return [set(wire, "net.ipv6.conf.default.disable_ipv6", 1)];
}

function linkSteps(link: PlannedLink, namespaceOf: (where: string) => string): Step[] {
  const single = "numtxqueues 1 numrxqueues 1";
  const steps = [run(wire, "ip", `link add name ${link.name} type bridge forward_delay 0 mcast_snooping 0`)];
  link.ends.forEach((end, side) => {
    const peer = link.ends[1 - side];
    const device = end.interfaceName;
    steps.push(
      // One queue each way: with several, packets overtake each other when their sender changes CPU.
      run(
        wire,
        "ip",
        `link add name ${end.portName} ${single} type veth peer name ${device} ${single} address ${end.mac} netns ${namespaceOf(end.host)}`,
      ),
      run(wire, "ip", `link set dev ${end.portName} master ${link.name} up`),
      // A real network card delivers packets with complete checksums; this also makes them packets, not 64 KB frames.
      ...(link.largeFrames
        ? []
        : [
            run(end.host, "ethtool", `-K ${device} tx off`),
            run(end.host, "ip", `link set dev ${device} gso_max_segs 1 gso_max_size 1514`),
          ]),
      run(end.host, "ip", `link set dev ${device} up`),
      run(end.host, "ip", `addr add ${end.ipv4} dev ${device}`),
      run(end.host, "ip", `addr add ${end.ipv6} dev ${device} nodad`),
      run(end.host, "ip", `neigh add ${bare(peer.ipv4)} lladdr ${peer.mac} dev ${device} nud permanent`),
      run(end.host, "ip", `neigh add ${bare(peer.ipv6)} lladdr ${peer.mac} dev ${device} nud permanent`),
    );
  });
  steps.push(run(wire, "ip", `link set dev ${link.name} up`));
  for (const direction of directions) {
    steps.push(...shapingSteps(link, direction, link.conditions[direction], "add"));
    if (needsQueue(link.conditions[direction])) steps.push(...queueSteps(link, direction));
  }
  return steps;
}

/** Whether packets have to pass the delay process. */
export function needsQueue(conditions: Conditions): boolean {
  return conditions.delayMs > 0 || conditions.jitterMs > 0 || conditions.lossPercent > 0;
}

const sender = (link: PlannedLink, direction: Direction) => link.ends[direction === "forward" ? 0 : 1];

/** The rate limit, at the sending host. */
export function shapingSteps(
  link: PlannedLink,
  direction: Direction,
  conditions: Conditions,
  verb: "add" | "replace" | "del",
): Step[] {
  const { host, interfaceName } = sender(link, direction);
  if (verb === "del") return [run(host, "tc", `qdisc del dev ${interfaceName} root`)];
  if (conditions.rateMbit === Infinity) return [];
  const { burst, limit } = bucketOf(conditions, link.largeFrames);
  const rate = `${Math.round(conditions.rateMbit * 1e6)}bit`;
  return [run(host, "tc", `qdisc ${verb} dev ${interfaceName} root tbf rate ${rate} burst ${burst} limit ${limit}`)];
}

/**
 * The token bucket. It must hold what the link carries while its timer is late (a few ms on a busy machine), or the rate
 * suffers; more would let bursts pass at full speed.
 */
export function bucketOf(conditions: Conditions, largeFrames: boolean): { burst: number; limit: number } {
  const bytesPerMs = (conditions.rateMbit * 1e6) / 8 / 1000;
  const burst = Math.max(Math.ceil(4 * bytesPerMs), 2 * frameBytes, largeFrames ? largeFrameBytes : 0);
  return { burst, limit: Math.max(Math.ceil(conditions.queueMs * bytesPerMs), burst, 4 * frameBytes) };
}

/** Sends one direction's packets through the delay process. */
export function queueSteps(link: PlannedLink, direction: Direction): Step[] {
  const rule = `-w -t mangle -A FORWARD -m physdev --physdev-in ${sender(link, direction).portName} -j NFQUEUE --queue-num ${link.queues[direction]}`;
  return [
    run(wire, "iptables", rule),
    run(wire, "ip6tables", rule),
    // After the rules: the match on a bridge's ports is what loads the module that has these settings.
    set(wire, "net.bridge.bridge-nf-call-iptables", 1),
    set(wire, "net.bridge.bridge-nf-call-ip6tables", 1),
  ];
}

function routeSteps(name: string, host: HostSpec, links: readonly PlannedLink[]): Step[] {
  const hop = (link: string) => {
    const { ends } = links.find((one) => one.name === link)!;
    return `via ${bare(ends[ends[0].host === name ? 1 : 0].ipv4)} dev ${link}`;
  };
  const addresses = Object.entries(host.addresses ?? {}).map(([address, link]) =>
    run(name, "ip", `addr add ${address}/32 dev ${link}`),
  );
  const routes = Object.entries(host.routes ?? {}).map(([prefix, over]) =>
    run(
      name,
      "ip",
      typeof over === "string"
        ? `route add ${prefix} ${hop(over)}`
        : `route add ${prefix} ${over.map((link) => `nexthop ${hop(link)}`).join(" ")}`,
    ),
  );
  return [...addresses, ...routes];
}

function endpointSteps(name: string, host: HostSpec, links: readonly PlannedLink[]): Step[] {
  const announced = (host.announces ?? []).map(({ address, port, id, link }) => {
    const more = [id === undefined ? [] : ["id", `${id}`], port === undefined ? [] : ["port", `${port}`]].flat();
    return run(name, "ip", ["mptcp endpoint add", address, "dev", link, ...more, "signal"].join(" "));
  });
  return [...announced, ...roleSteps(name, host, links)];
}

function roleSteps(name: string, host: HostSpec, links: readonly PlannedLink[]): Step[] {
  const role = host.endpoints ?? "none";
  if (role === "none") return [];
  const flags = role === "fullmesh" ? "subflow fullmesh" : role;
  const ends = links.flatMap((link) => link.ends).filter((end) => end.host === name);
  return ends.map((end) =>
    run(
      name,
      "ip",
      `mptcp endpoint add ${bare(host.family === 6 ? end.ipv6 : end.ipv4)} dev ${end.interfaceName} ${flags}`,
    ),
  );
}

/** An address without its prefix length. */
export function bare(address: string): string {
  return address.split("/")[0];
}
