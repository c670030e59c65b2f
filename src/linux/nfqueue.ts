/**
 * Packet queues of netfilter (nfnetlink_queue): the kernel keeps a packet until a verdict names its id. Only ids are read, no
 * payload, and they are read in batches: this is the path that every packet of an emulated link takes.
 */
import { address, check, declare } from "./ffi.ts";
import { concat, encodeAttributes, NetlinkSocket } from "./netlink.ts";
import { hasErrno, setOption, SO_RCVBUFFORCE, SOL_SOCKET } from "./socket-calls.ts";

const NETLINK_NETFILTER = 12;
const SUBSYSTEM_QUEUE = 3 << 8;
const [PACKET, VERDICT, CONFIG, VERDICT_BATCH] = [0, 1, 2, 3].map((type) => SUBSYSTEM_QUEUE | type) as [
  number,
  number,
  number,
  number,
];
const NFQA_PACKET_HDR = 1;
const NF_DROP = 0;
const NF_ACCEPT = 1;
const COMMAND_BIND = 1;
const COPY_META = 1;
const FLAG_FAIL_OPEN = 1;
const FLAG_GSO = 4;
const SOL_NETLINK = 270;
const NETLINK_NO_ENOBUFS = 5;
const MSG_DONTWAIT = 0x40;
const POLLIN = 1;

const configAttributes = {
  command: [1, "bytes"],
  params: [2, "bytes"],
  queueMaxLength: [3, "be32"],
  mask: [4, "be32"],
  flags: [5, "be32"],
} as const;

const recvmmsg = declare("recvmmsg", "int", ["int", "void *", "uint32_t", "int", "void *"]);
const send = declare("send", "long", ["int", "void *", "size_t", "int"]);
const ppoll = declare("ppoll", "int", ["void *", "unsigned long", "void *", "void *"]);

const batch = 128;
const slotBytes = 256;
const mmsghdrBytes = 64;

function nfgenmsg(queue: number): Uint8Array {
  return Uint8Array.of(0, 0, queue >> 8, queue & 0xff);
}

/** Queues of the namespace in which the socket was made. @throws SystemCallError EPERM without CAP_NET_ADMIN. */
export class PacketQueues {
  readonly #socket = new NetlinkSocket(NETLINK_NETFILTER);
  readonly #slots = new Uint8Array(batch * slotBytes);
  readonly #view = new DataView(this.#slots.buffer);
  readonly #headers = new Uint8Array(batch * mmsghdrBytes);
  readonly #headerView = new DataView(this.#headers.buffer);
  readonly #vectors = new Uint8Array(batch * 16);
  readonly #pollfds = new Uint8Array(16);
  readonly #pollView = new DataView(this.#pollfds.buffer);
  readonly #timespec = new BigInt64Array(2);
  readonly #timespecBytes = new Uint8Array(this.#timespec.buffer);
  /** One verdict message, rewritten each time: header 16, nfgenmsg 4, attribute header 4, verdict and id. */
  readonly #verdict = new Uint8Array(32);
  readonly #verdictView = new DataView(this.#verdict.buffer);

  constructor() {
    const vectors = new DataView(this.#vectors.buffer);
    for (let i = 0; i < batch; i++) {
      vectors.setBigUint64(i * 16, address(this.#slots) + BigInt(i * slotBytes), true);
      vectors.setBigUint64(i * 16 + 8, BigInt(slotBytes), true);
      this.#headerView.setBigUint64(i * mmsghdrBytes + 16, address(this.#vectors) + BigInt(i * 16), true);
      this.#headerView.setBigUint64(i * mmsghdrBytes + 24, 1n, true);
    }
    this.#verdictView.setUint32(0, 32, true);
    this.#verdictView.setUint16(6, 1, true);
    this.#verdictView.setUint16(20, 12, true);
    this.#verdictView.setUint16(22, 2, true);
    setOption(this.#socket.fd, SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20);
    setOption(this.#socket.fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, 1);
  }

  /** Starts to receive the packets of a queue number; beyond `maxLength` waiting ones the kernel lets packets pass. */
  bind(queue: number, maxLength: number): void {
    const configure = (values: Parameters<typeof encodeAttributes<typeof configAttributes>>[1]) =>
      this.#socket.request(CONFIG, 0, concat([nfgenmsg(queue), encodeAttributes(configAttributes, values)]));
    configure({ command: Uint8Array.of(COMMAND_BIND, 0, 0, 0) });
    configure({ params: Uint8Array.of(0, 0, 0, 0, COPY_META) });
    configure({
      queueMaxLength: maxLength,
      mask: FLAG_FAIL_OPEN | FLAG_GSO,
      flags: FLAG_FAIL_OPEN | FLAG_GSO,
    });
  }

  /**
   * Blocks until a packet waits, `other` is readable, or the time is over (Infinity: no limit; past: at once).
   * @returns whether packets wait, and whether `other` has data or its writer is gone.
   */
  wait(timeoutMs: number, other: number): { packets: boolean; other: boolean } {
    this.#pollView.setInt32(0, this.#socket.fd, true);
    this.#pollView.setInt32(4, POLLIN, true);
    this.#pollView.setInt32(8, other, true);
    this.#pollView.setInt32(12, POLLIN, true);
    const nanoseconds = timeoutMs === Infinity ? 0 : Math.max(0, Math.round(timeoutMs * 1e6));
    this.#timespec[0] = BigInt(Math.floor(nanoseconds / 1e9));
    this.#timespec[1] = BigInt(nanoseconds % 1e9);
    const ready = Number(ppoll(this.#pollfds, 2, timeoutMs === Infinity ? null : this.#timespecBytes, null));
    if (ready <= 0) return { packets: false, other: false };
    return { packets: this.#pollView.getUint16(6, true) !== 0, other: this.#pollView.getUint16(14, true) !== 0 };
  }

  /** Hands each waiting packet to `each`, without blocking. */
  receive(each: (queue: number, id: number) => void): void {
    for (;;) {
      const count = Number(recvmmsg(this.#socket.fd, this.#headers, batch, MSG_DONTWAIT, null));
      for (let i = 0; i < count; i++) {
        const at = i * slotBytes;
        const length = Math.min(this.#headerView.getUint32(i * mmsghdrBytes + 56, true), slotBytes);
        // The packet header is always the first attribute of the message.
        if (length < 28 || this.#view.getUint16(at + 4, true) !== PACKET) continue;
        if (this.#view.getUint16(at + 22, true) !== NFQA_PACKET_HDR) continue;
        each(this.#view.getUint16(at + 18), this.#view.getUint32(at + 24));
      }
      if (count < batch) return;
    }
  }

  /** Lets go all packets of a queue up to and including `id`. */
  acceptUpTo(queue: number, id: number): void {
    this.#send(VERDICT_BATCH, queue, id, NF_ACCEPT);
  }

  drop(queue: number, id: number): void {
    this.#send(VERDICT, queue, id, NF_DROP);
  }

  #send(type: number, queue: number, id: number, verdict: number): void {
    this.#verdictView.setUint16(4, type, true);
    this.#verdictView.setUint16(18, queue);
    this.#verdictView.setUint32(24, verdict);
    this.#verdictView.setUint32(28, id);
    try {
      check("send", send(this.#socket.fd, this.#verdict, this.#verdict.length, 0), "verdict");
    } catch (error) {
      // The packets are gone already, e.g. with the interface they came from.
      if (!hasErrno(error, "ENOENT")) throw error;
    }
  }

  close(): void {
    this.#socket.close();
  }
}
