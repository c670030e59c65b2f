/** TCP segments of a connection as they pass a host's interfaces, and which of its data they carry (DSS, RFC 8684 §3.3.1). */
import { capturePackets } from "../../linux/capture.ts";
import { add64, difference32, difference64, expandSequence, parsePacket, TcpFlag, type Dss } from "../../wire/index.ts";
import type { Lab } from "../lab.ts";

export type Data = {
  /** Where it belongs among all bytes that the connection carries this way, from 0. */
  readonly offset: number;
  readonly length: number;
};

export type SeenSegment = {
  /** The interface, which is called like the link. */
  readonly link: string;
  readonly direction: "ingress" | "egress";
  /** Since 1970. */
  readonly timeMs: number;
  /** Of the whole frame. */
  readonly bytes: number;
  /** Absent without data, and where none of it is mapped. */
  readonly data?: Data;
};

/** Follows one direction of one connection through the segments of all its subflows, from its first data on. */
export class DataFollower {
  readonly #initial = new Map<string, number>();
  #first: bigint | undefined;

  /** @returns undefined for what is not TCP */
  take(frame: Uint8Array): { readonly data?: Data } | undefined {
    const { ip, tcp, payload } = parsePacket(frame);
    if (!ip || !tcp) return undefined;
    const flow = [ip.source, tcp.sourcePort, ip.destination, tcp.destinationPort].join();
    if (tcp.flags & TcpFlag.syn) this.#initial.set(flow, tcp.sequence);
    const initial = this.#initial.get(flow);
    if (payload.length === 0 || initial === undefined) return {};
    const { length } = payload;
    const inFlow = difference32(tcp.sequence, initial);
    // The first data goes with a repeated MP_CAPABLE, which maps it to the beginning (RFC 8684 §3.1).
    if (tcp.options.some(({ kind }) => kind === "mpCapable")) return { data: { offset: inFlow - 1, length } };
    const dss = tcp.options.find((option): option is Dss => option.kind === "dss");
    if (dss?.subflowSequence === undefined) return {};
    const start = dss.dataSequence64 ?? expandSequence(dss.dataSequence32 ?? 0, this.#first ?? 0n);
    // All before it was sent on this subflow, too.
    this.#first ??= add64(start, BigInt(1 - dss.subflowSequence));
    // A mapping may be longer than a segment, and is repeated in each of those that carry it.
    const into = inFlow - dss.subflowSequence;
    return { data: { offset: Number(difference64(start, this.#first)) + into, length } };
  }
}

/**
 * Tells of all segments on some of a host's interfaces, until the function returned is called. Begin before the connection
 * does, and let there be only one.
 */
export function watchSegments(
  lab: Lab,
  host: string,
  links: readonly string[],
  seen: (segment: SeenSegment) => void,
): () => void {
  const followers = { ingress: new DataFollower(), egress: new DataFollower() };
  const stops = links.map((link) =>
    capturePackets({ interface: link, netns: lab.host(host).netns }, (packet) => {
      const { bytes, direction, timestampNs, originalLength } = packet;
      const segment = followers[direction].take(bytes);
      if (segment) seen({ link, direction, timeMs: Number(timestampNs) / 1e6, bytes: originalLength, ...segment });
    }),
  );
  const stop = () => {
    forget();
    for (const one of stops.splice(0)) one();
  };
  const forget = lab.whenClosed(stop);
  return stop;
}
