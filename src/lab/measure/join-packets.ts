/**
 * The packets that tell when a connection began and when its second subflow did, as the client's kernel saw them: which are
 * kept (a filter that runs in the kernel), and what they say together. Pure. RFC 8684, sections 3.1 and 3.2.
 */
import type { SeenPacket } from "../../linux/capture.ts";
import type { FilterInstruction } from "../../linux/socket-filter.ts";
import { formatIpAddress, mptcpToken, parsePacket, TcpFlag } from "../../wire/index.ts";

/** What happened to one connection; times in microseconds. */
export interface JoinDelay {
  /** From the first SYN, with MP_CAPABLE, to the SYN with MP_JOIN of the same connection. */
  readonly sinceSynUs: number;
  /** From the third packet of the handshake, which carries both keys. */
  readonly sinceEstablishedUs: number;
  /**
   * From the server's first packet after the handshake. By it the client's kernel takes the connection for fully established,
   * and tells path managers: what is left is theirs. Absent where that packet was a large one.
   */
  readonly sinceAcknowledgedUs?: number;
}

export interface JoinDelays {
  /** Established connections, in the order of their first SYNs. */
  readonly connections: number;
  /** Of those that got a second subflow. */
  readonly delays: readonly JoinDelay[];
  /** Those that never got one. */
  readonly missed: number;
}

/** Offsets in Ethernet frames; those in TCP's header are relative to IP's length. */
const at = { etherType: 12, ipHeader: 14, ipLength: 16, protocol: 23, tcpFlags: 14 + 13, option: 14 + 20 } as const;
/** After the timestamp option and its padding. */
const laterOption = at.option + 12;
/** Headers, and the four bytes of a request or a short answer. */
const smallBytes = 140;
const mptcpKind = 30;
/** Of classic BPF: `SKF_AD_OFF + SKF_AD_PKTTYPE`, 4 if the packet leaves. */
const packetType = 0xffff_f004;
const outgoing = 4;

const codes = {
  byte: 0x30,
  half: 0x28,
  /** Relative to the index register. */
  tcpByte: 0x50,
  loadIpLength: 0xb1,
  and: 0x54,
  equal: 0x15,
  greater: 0x25,
  keep: 0x06,
} as const;

type Line = readonly [
  code: keyof typeof codes,
  operand: number,
  jumps?: { readonly yes?: string; readonly no?: string },
];

/**
 * IPv4 packets that leave with SYN, or with an MP_CAPABLE where Linux puts it (the first option, or the first after
 * timestamps), and small ones that arrive with nothing but ACK and PSH.
 */
const filterLines: readonly (Line | string)[] = [
  ["half", at.etherType],
  ["equal", 0x0800, { no: "drop" }],
  ["byte", at.protocol],
  ["equal", 6, { no: "drop" }],
  ["loadIpLength", at.ipHeader],
  ["byte", packetType],
  ["equal", outgoing, { yes: "leaves" }],
  ["half", at.ipLength],
  ["greater", smallBytes, { yes: "drop" }],
  ["tcpByte", at.tcpFlags],
  ["and", TcpFlag.fin | TcpFlag.syn | TcpFlag.rst | TcpFlag.ack],
  ["equal", TcpFlag.ack, { yes: "keep", no: "drop" }],
  "leaves",
  ["tcpByte", at.tcpFlags],
  ["and", TcpFlag.syn | TcpFlag.ack],
  ["equal", TcpFlag.syn, { yes: "keep" }],
  ["tcpByte", at.option],
  ["equal", mptcpKind, { no: "later" }],
  ["tcpByte", at.option + 2],
  ["and", 0xf0],
  ["equal", 0, { yes: "keep", no: "drop" }],
  "later",
  ["tcpByte", laterOption],
  ["equal", mptcpKind, { no: "drop" }],
  ["tcpByte", laterOption + 2],
  ["and", 0xf0],
  ["equal", 0, { yes: "keep" }],
  "drop",
  ["keep", 0],
  "keep",
  ["keep", 0x40000],
];

/** The filter for `openCapture`. */
export const joinFilter: readonly FilterInstruction[] = assemble(filterLines);

function assemble(lines: readonly (Line | string)[]): FilterInstruction[] {
  const labels = new Map<string, number>();
  const instructions: Line[] = [];
  for (const line of lines) {
    if (typeof line === "string") labels.set(line, instructions.length);
    else instructions.push(line);
  }
  const jump = (label: string | undefined, from: number) => (label === undefined ? 0 : labels.get(label)! - from - 1);
  return instructions.map(([code, operand, jumps], i) => [
    codes[code],
    jump(jumps?.yes, i),
    jump(jumps?.no, i),
    operand,
  ]);
}

interface Begun {
  readonly sequence: number;
  readonly synNs: bigint;
  establishedNs?: bigint;
  acknowledgedNs?: bigint;
  joinNs?: bigint;
}

/** Puts packets together, in the order in which they passed. */
export class JoinCollector {
  /** By the client's address and port; a port may serve several connections, one after the other. */
  readonly #byPort = new Map<string, Begun>();
  readonly #byToken = new Map<number, Begun>();
  readonly #established: Begun[] = [];

  take({ bytes, link, direction, timestampNs }: SeenPacket): void {
    const { ip, tcp } = parsePacket(bytes, { link });
    if (!ip || !tcp) return;
    if (direction === "ingress") {
      const begun = this.#byPort.get(`${formatIpAddress(ip.destination)}:${tcp.destinationPort}`);
      if (begun?.establishedNs !== undefined) begun.acknowledgedNs ??= timestampNs;
      return;
    }
    const key = `${formatIpAddress(ip.source)}:${tcp.sourcePort}`;
    for (const option of tcp.options) {
      if (option.kind === "mpJoinSyn") {
        const joined = this.#byToken.get(option.token);
        if (joined) joined.joinNs ??= timestampNs;
      } else if (option.kind === "mpCapable" && (tcp.flags & TcpFlag.syn) !== 0) {
        // Not if it is sent again.
        if (this.#byPort.get(key)?.sequence !== tcp.sequence)
          this.#byPort.set(key, { sequence: tcp.sequence, synNs: timestampNs });
      } else if (option.kind === "mpCapable" && option.receiverKey !== undefined) {
        const begun = this.#byPort.get(key);
        if (!begun || begun.establishedNs !== undefined) continue;
        begun.establishedNs = timestampNs;
        this.#established.push(begun);
        this.#byToken.set(mptcpToken(option.receiverKey, option.version), begun);
      }
    }
  }

  /** @param warmUp how many of the first connections do not count */
  result(warmUp = 0): JoinDelays {
    const counted = this.#established.slice(warmUp);
    const delays = counted.flatMap(({ synNs, establishedNs, acknowledgedNs, joinNs }): JoinDelay[] => {
      if (joinNs === undefined) return [];
      const us = (since: bigint) => Number(joinNs - since) / 1000;
      return [
        {
          sinceSynUs: us(synNs),
          sinceEstablishedUs: us(establishedNs!),
          ...(acknowledgedNs !== undefined && acknowledgedNs <= joinNs && { sinceAcknowledgedUs: us(acknowledgedNs) }),
        },
      ];
    });
    return { connections: counted.length, delays, missed: counted.length - delays.length };
  }
}
