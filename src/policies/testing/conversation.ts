/** An MPTCP connection's handshakes as frames, for tests of what learns from them: client 10.0.0.2, server 10.0.0.1:80. */
import { makeFrame } from "../../compiler/testing/packets.ts";
import type { Hook } from "../../compiler/index.ts";
import { mptcpToken, type MptcpVersion, type TcpOption } from "../../wire/index.ts";

export const clientKey = 0x0123_4567_89ab_cdefn;
export const serverKey = 0xfedc_ba98_7654_3210n;

const SYN = 0x02;
const ACK = 0x10;

/** A frame, and the hook on which the server's host sees it. */
export type Seen = readonly [frame: Uint8Array, hook: Hook];

interface Segment {
  readonly flags: number;
  readonly options?: readonly TcpOption[];
  readonly payload?: number;
  readonly sequence?: number;
  readonly acknowledgment?: number;
}

/** A subflow of the client's `port`, as a host sees it that is the server, or the client. */
export class Conversation {
  readonly version: MptcpVersion;
  readonly #host: "client" | "server";

  constructor(version: MptcpVersion = 1, host: "client" | "server" = "server") {
    this.version = version;
    this.#host = host;
  }

  get tokens(): { client: number; server: number } {
    return { client: mptcpToken(clientKey, this.version), server: mptcpToken(serverKey, this.version) };
  }

  fromClient(port: number, { sequence = 101, acknowledgment = 201, flags, ...rest }: Segment): Seen {
    const tcp = { sourcePort: port, destinationPort: 80, sequence, acknowledgment, flags };
    return [makeFrame({ ...rest, tcp }), this.#host === "server" ? "tcx_ingress" : "tcx_egress"];
  }

  fromServer(port: number, { sequence = 201, acknowledgment = 101, flags, ...rest }: Segment): Seen {
    const tcp = { sourcePort: 80, destinationPort: port, sequence, acknowledgment, flags };
    const addresses = { source: "10.0.0.1", destination: "10.0.0.2" };
    return [makeFrame({ ...addresses, ...rest, tcp }), this.#host === "server" ? "tcx_egress" : "tcx_ingress"];
  }

  #capable(keys: { senderKey?: bigint; receiverKey?: bigint }): TcpOption {
    const flags = { checksumRequired: false, extensibility: false, denyJoinId0: false, hmac: true };
    return { kind: "mpCapable", version: this.version, ...flags, ...keys };
  }

  /** The three segments that open the connection, from the client's `port`; `initial` is the first one's number. */
  connect(port: number, initial = 100): Seen[] {
    const numbers = { sequence: initial + 1, acknowledgment: 201 };
    return [
      this.fromClient(port, {
        flags: SYN,
        sequence: initial,
        acknowledgment: 0,
        options: [this.#capable(this.version === 0 ? { senderKey: clientKey } : {})],
      }),
      this.fromServer(port, {
        flags: SYN | ACK,
        sequence: 200,
        acknowledgment: initial + 1,
        options: [this.#capable({ senderKey: serverKey })],
      }),
      this.fromClient(port, {
        flags: ACK,
        ...numbers,
        options: [this.#capable({ senderKey: clientKey, receiverKey: serverKey })],
      }),
    ];
  }

  /** The three segments by which the client joins from `port`. */
  join(port: number, { id = 2, backup = false } = {}): Seen[] {
    const token = this.tokens.server;
    const syn: TcpOption = { kind: "mpJoinSyn", backup, addressId: id, token, nonce: 1 };
    const synAck: TcpOption = { kind: "mpJoinSynAck", backup: false, addressId: 7, hmac: 5n, nonce: 2 };
    const ack: TcpOption = { kind: "mpJoinAck", hmac: new Uint8Array(20) };
    return [
      this.fromClient(port, { flags: SYN, sequence: 100, acknowledgment: 0, options: [syn] }),
      this.fromServer(port, { flags: SYN | ACK, sequence: 200, options: [synAck] }),
      this.fromClient(port, { flags: ACK, options: [ack] }),
    ];
  }
}
