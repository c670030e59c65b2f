/** Which way captured packets went, as seen from the host whose chain is explained. */
import { formatIpAddress, prefixContains, TcpFlag, type IpPrefix, type Packet } from "../../wire/index.ts";

export type Direction = "ingress" | "egress";

/**
 * How a direction is known: the capture says so, the person named the host's addresses, or it was guessed: whoever opened
 * a connection, or sent its first captured packet, is this host.
 */
export type DirectionSource = "capture" | "local" | "guessed";

export interface Directed {
  readonly direction: Direction;
  readonly source: DirectionSource;
}

type Ends = Required<Pick<Packet, "ip" | "tcp">>;

const endpoint = (address: Uint8Array, port: number): string => `${formatIpAddress(address)} ${port}`;

/** Tells the direction of packets in the order of the capture. */
export class DirectionFinder {
  readonly #local: readonly IpPrefix[];
  /** Ends of connections that were taken for this host's. */
  readonly #ends = new Set<string>();
  readonly #addresses = new Set<string>();

  /** `local` are the host's addresses; none leaves the direction to the capture or to a guess. */
  constructor(local: readonly IpPrefix[]) {
    this.#local = local;
  }

  find({ ip, tcp }: Ends, captured: Direction | undefined): Directed {
    const isLocal = (address: Uint8Array) => this.#local.some((prefix) => prefixContains(prefix, address));
    if (isLocal(ip.source)) return { direction: "egress", source: "local" };
    if (isLocal(ip.destination)) return { direction: "ingress", source: "local" };
    if (captured) return { direction: captured, source: "capture" };
    return { direction: this.#guess(ip, tcp), source: "guessed" };
  }

  #guess(ip: Ends["ip"], tcp: Ends["tcp"]): Direction {
    const from = endpoint(ip.source, tcp.sourcePort);
    const to = endpoint(ip.destination, tcp.destinationPort);
    if (this.#ends.has(`${from} ${to}`)) return "egress";
    if (this.#ends.has(`${to} ${from}`)) return "ingress";
    const answers = (tcp.flags & (TcpFlag.syn | TcpFlag.ack)) === (TcpFlag.syn | TcpFlag.ack);
    const knownReceiver = this.#addresses.has(formatIpAddress(ip.destination));
    const direction = answers || knownReceiver ? "ingress" : "egress";
    const [here, ends] = direction === "egress" ? [ip.source, `${from} ${to}`] : [ip.destination, `${to} ${from}`];
    this.#addresses.add(formatIpAddress(here));
    this.#ends.add(ends);
    return direction;
  }
}
