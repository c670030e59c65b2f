/** Packets of an interface as they pass, by an AF_PACKET socket (man 7 packet): copies, which nothing that is done to them reaches. */
import { address, check, declare, watch } from "./ffi.ts";
import { interfaceIndex } from "./interfaces.ts";
import { withNetns, type NetworkNamespace } from "./netns.ts";
import { attachFilter, type FilterInstruction } from "./socket-filter.ts";
import {
  bindSocket,
  closeSocket,
  getOption,
  hasErrno,
  openSocket,
  setOption,
  SOCK_RAW,
  SOL_SOCKET,
} from "./socket-calls.ts";

const AF_PACKET = 17;
const ETH_P_ALL = 3;
const PACKET_OUTGOING = 4;
const SO_RCVBUFFORCE = 33;
const SO_TIMESTAMPNS = 35;
const SOL_PACKET = 263;
const PACKET_STATISTICS = 6;
const MSG_DONTWAIT = 0x40;
const MSG_TRUNC = 0x20;
/** Hardware types whose packets start with an Ethernet header (include/uapi/linux/if_arp.h); others start with IP's. */
const framed: ReadonlySet<number> = new Set([1, 772]);

const recvmsg = declare("recvmsg", "long", ["int", "void *", "int"]);

/** Offsets in `struct sockaddr_ll`, `struct msghdr` and `struct cmsghdr`. */
const name = { hardwareType: 8, packetType: 10, size: 20 } as const;
const header = {
  name: 0,
  nameLength: 8,
  vectors: 16,
  vectorCount: 24,
  control: 32,
  controlLength: 40,
  flags: 48,
  size: 56,
};
const control = { level: 8, type: 12, data: 16, size: 32 } as const;
/** The largest segment that is still to be cut up, and its header. */
const frameBytes = 65_536 + 18;
const receiveBufferBytes = 16 << 20;
/** Read at a time, so that others get their turn. */
const batch = 256;

export interface SeenPacket {
  readonly bytes: Uint8Array;
  /** What `bytes` start with. */
  readonly link: "ethernet" | "ip";
  readonly direction: "ingress" | "egress";
  /** Since 1970. */
  readonly timestampNs: bigint;
  /** Of the packet on the wire, in bytes. */
  readonly originalLength: number;
}

export interface CaptureOptions {
  /** All of the namespace unless given. */
  readonly interface?: string;
  readonly netns?: NetworkNamespace;
  /** Decides in the kernel which packets are kept, and how many bytes of them; all of each unless given. */
  readonly filter?: readonly FilterInstruction[];
}

/** Packets that wait in the kernel until they are read: nothing is woken when one passes. */
export interface PacketReader extends Disposable {
  /** The next packet, or undefined when none waits. */
  readonly read: () => SeenPacket | undefined;
  /** How many the kernel had no room for since this was asked last. */
  readonly dropped: () => number;
  readonly close: () => void;
}

/**
 * Keeps packets from now on, with the time at which each of them passed, until they are read: some 10 000, if they are small.
 * @throws NoSuchInterfaceError; Error without CAP_NET_RAW and CAP_NET_ADMIN; SystemCallError
 */
export function openCapture(options: CaptureOptions): PacketReader {
  const fd = openFor(options);
  const receiver = new Receiver(fd);
  const state = { open: true };
  const close = () => {
    if (state.open) closeSocket(fd);
    state.open = false;
  };
  // struct tpacket_stats: packets, drops; reading clears them.
  const dropped = () =>
    new DataView(getOption(fd, SOL_PACKET, PACKET_STATISTICS, new Uint8Array(8)).buffer).getUint32(4, true);
  return { read: () => receiver.receive(), dropped, close, [Symbol.dispose]: close };
}

/**
 * Hands over the packets of an interface on the event loop, until the function returned is called. Packets that arrive are
 * seen before tc's programs, those that leave behind them.
 * @throws NoSuchInterfaceError; Error without CAP_NET_RAW and CAP_NET_ADMIN; SystemCallError
 */
export function capturePackets(options: CaptureOptions, packet: (packet: SeenPacket) => void): () => void {
  const fd = openFor(options);
  const receiver = new Receiver(fd);
  const state = { open: true };
  const stop = watch(fd, () => {
    for (let i = 0; state.open && i < batch; i++) {
      const seen = receiver.receive();
      if (!seen) return;
      packet(seen);
    }
  });
  return () => {
    if (!state.open) return;
    state.open = false;
    stop();
    closeSocket(fd);
  };
}

function orForbidden<T>(open: () => T): T {
  try {
    return open();
  } catch (cause) {
    if (!hasErrno(cause, "EPERM")) throw cause;
    throw new Error("Cannot capture packets: this needs CAP_NET_RAW and CAP_NET_ADMIN; run as root", { cause });
  }
}

function openFor({ netns, interface: name, filter }: CaptureOptions): number {
  return withNetns(netns, () => orForbidden(() => openOn(name === undefined ? 0 : interfaceIndex(name), filter)));
}

function openOn(index: number, filter: CaptureOptions["filter"]): number {
  // Protocol 0 first: nothing is queued before the socket is bound to its interface.
  const fd = openSocket(AF_PACKET, SOCK_RAW, 0);
  try {
    setOption(fd, SOL_SOCKET, SO_TIMESTAMPNS, 1);
    setOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, receiveBufferBytes);
    if (filter) attachFilter(fd, filter);
    const to = new Uint8Array(name.size);
    const view = new DataView(to.buffer);
    view.setUint16(0, AF_PACKET, true);
    view.setUint16(2, ETH_P_ALL);
    view.setInt32(4, index, true);
    bindSocket(fd, to);
    return fd;
  } catch (error) {
    closeSocket(fd);
    throw error;
  }
}

/** The buffers of `recvmsg`, used again for each packet. */
class Receiver {
  readonly #fd: number;
  readonly #frame = new Uint8Array(frameBytes);
  readonly #name = new Uint8Array(name.size);
  readonly #control = new Uint8Array(64);
  readonly #vector = new Uint8Array(16);
  readonly #header = new Uint8Array(header.size);
  readonly #headerView = new DataView(this.#header.buffer);

  constructor(fd: number) {
    this.#fd = fd;
    const vector = new DataView(this.#vector.buffer);
    vector.setBigUint64(0, address(this.#frame), true);
    vector.setBigUint64(8, BigInt(frameBytes), true);
    const view = this.#headerView;
    view.setBigUint64(header.name, address(this.#name), true);
    view.setBigUint64(header.vectors, address(this.#vector), true);
    view.setBigUint64(header.vectorCount, 1n, true);
    view.setBigUint64(header.control, address(this.#control), true);
  }

  /** The next packet, or undefined when none waits. */
  receive(): SeenPacket | undefined {
    // The kernel puts here what it wrote.
    this.#headerView.setUint32(header.nameLength, name.size, true);
    this.#headerView.setBigUint64(header.controlLength, BigInt(this.#control.length), true);
    let originalLength: number;
    try {
      originalLength = check("recvmsg", recvmsg(this.#fd, this.#header, MSG_DONTWAIT | MSG_TRUNC));
    } catch (error) {
      // ENETDOWN: the interface is down now, and may come up again.
      if (hasErrno(error, "EAGAIN", "EINTR", "ENETDOWN")) return undefined;
      throw error;
    }
    const from = new DataView(this.#name.buffer);
    return {
      bytes: this.#frame.slice(0, Math.min(originalLength, frameBytes)),
      link: framed.has(from.getUint16(name.hardwareType, true)) ? "ethernet" : "ip",
      direction: from.getUint8(name.packetType) === PACKET_OUTGOING ? "egress" : "ingress",
      timestampNs: this.#timestampNs() ?? BigInt(Date.now()) * 1_000_000n,
      originalLength,
    };
  }

  #timestampNs(): bigint | undefined {
    const view = new DataView(this.#control.buffer);
    const length = Number(this.#headerView.getBigUint64(header.controlLength, true));
    const isTime =
      length >= control.size &&
      view.getInt32(control.level, true) === SOL_SOCKET &&
      view.getInt32(control.type, true) === SO_TIMESTAMPNS;
    if (!isTime) return undefined;
    return view.getBigInt64(control.data, true) * 1_000_000_000n + view.getBigInt64(control.data + 8, true);
  }
}
