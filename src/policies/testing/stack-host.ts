/**
 * In-stack congestion control on a host of the VM: connections with subflows, ACKs that arrive at them, and what the policy's
 * state says. Compiled like what is registered, for Reno as the base unless told otherwise.
 */
import { SocketStorageMap, type FieldValue, type KernelFunction, type OperationResult } from "../../bpf/vm/index.ts";
import { policyFile, sourceReader } from "../../chain/sources.ts";
import { claimLock, compileInStack, fieldSize, type CompiledInStack, type StateSlot } from "../../compiler/index.ts";
import { StackInVm } from "../../compiler/testing/in-stack.ts";
import { congestionEvent, type Base, type CongestionControl } from "../../policy/index.ts";

export type Fields = Readonly<Record<string, number | bigint>>;

/** Names of `SubflowFacts` and where they are. */
const facts: Readonly<Record<string, readonly [symbol: string, shift?: bigint]>> = {
  cwnd: ["tcp_sock.snd_cwnd"],
  cwndCount: ["tcp_sock.snd_cwnd_cnt"],
  ssthresh: ["tcp_sock.snd_ssthresh"],
  mss: ["tcp_sock.mss_cache"],
  srttUs: ["tcp_sock.srtt_us", 3n],
  minRttUs: ["tcp_sock.rtt_min.s[0].v"],
  packetsOut: ["tcp_sock.packets_out"],
  bytesSent: ["tcp_sock.bytes_sent"],
  bytesAcked: ["tcp_sock.bytes_acked"],
  sndNxt: ["tcp_sock.snd_nxt"],
  writeSeq: ["tcp_sock.write_seq"],
  delivered: ["tcp_sock.delivered"],
  lastEventUs: ["tcp_sock.tcp_mstamp"],
  isCwndLimited: ["tcp_sock.is_cwnd_limited"],
  caState: ["inet_connection_sock.icsk_ca_state"],
  maxPacingRate: ["sock.sk_max_pacing_rate"],
  pacingStatus: ["sock.sk_pacing_status"],
};

const TCP_CLOSE = 7;

const inNetworkOrder = (value: number): Uint8Array => Uint8Array.of(value >> 8, value & 0xff);

export class StackHost {
  readonly compiled: CompiledInStack;
  readonly vm: StackInVm;
  /** µs since the host started. */
  clockUs = 1_000_000n;
  #lastPort = 40_000;

  constructor(
    policy: CongestionControl,
    base: Base = "reno",
    functions: Readonly<Record<string, KernelFunction>> = {},
  ) {
    this.compiled = compileInStack({ name: policy.name, policy, file: policyFile(policy), base }, sourceReader);
    this.vm = new StackInVm(this.compiled, functions);
  }

  /** @param token undefined for plain TCP */
  connect(token: number | undefined, subflows: readonly Fields[]): StackSubflow[] {
    const ports = subflows.map(() => this.#lastPort++);
    const addresses = ports.map((port): Record<string, FieldValue> => ({
      "sock_common.skc_rcv_saddr": Uint8Array.of(10, 0, 0, 1),
      "sock_common.skc_daddr": Uint8Array.of(10, 0, 0, 2),
      "sock_common.skc_num": port,
      "sock_common.skc_dport": inNetworkOrder(5001),
      "inet_sock.inet_sport": inNetworkOrder(port),
      "rtt_min.s[0].v": 0xffff_ffff,
    }));
    const sockets =
      token === undefined
        ? addresses.map((fields) => this.vm.socket(fields))
        : this.vm.connection(addresses, { token }).sockets;
    return sockets.map((socket, i) => {
      const subflow = new StackSubflow(this, socket, ports[i]);
      subflow.set(subflows[i]);
      return subflow;
    });
  }

  #slot(name: string): StateSlot {
    return this.compiled.layout.state.find((slot) => slot.name === name)!;
  }

  /** The records of a state, each with its key. */
  records(name: string): { key: Uint8Array; fields: Record<string, bigint> }[] {
    const slot = this.#slot(name);
    return [...this.vm.maps.get(slot.map)!.entries()].map(([key, value]) => ({ key, fields: readFields(slot, value) }));
  }

  /** What the policy keeps with a socket in the state of that name. */
  kept(name: string, socket: bigint): Record<string, bigint> | undefined {
    const slot = this.#slot(name);
    const block = (this.vm.maps.get(slot.map) as SocketStorageMap).of(socket);
    return block && readFields(slot, block.bytes);
  }

  /** Changes the records of a state whose keys are `wanted`; says how many there were. */
  change(name: string, wanted: (key: DataView) => boolean, fields: Fields): number {
    const slot = this.#slot(name);
    const map = this.vm.maps.get(slot.map)!;
    const found = [...map.entries()].filter(([key]) => wanted(new DataView(key.buffer, key.byteOffset)));
    for (const [key, value] of found) map.update(key, writeFields(slot, value, fields));
    return found.length;
  }

  /** The flags of a claimable state's records, of the subflow with that port. */
  flags(name: string, port: number): number[] {
    const entries = [...this.vm.maps.get(this.#slot(name).map)!.entries()];
    return entries
      .map(([key, value]) => ({ key: new DataView(key.buffer, key.byteOffset), value }))
      .filter(({ key }) => key.getUint16(32, true) === port)
      .map(({ value }) => new DataView(value.buffer, value.byteOffset).getUint32(claimLock.flag, true));
  }
}

/** One subflow of this host, as the kernel's TCP treats it. */
export class StackSubflow {
  readonly socket: bigint;
  readonly port: number;
  readonly #host: StackHost;

  constructor(host: StackHost, socket: bigint, port: number) {
    this.#host = host;
    this.socket = socket;
    this.port = port;
  }

  set(fields: Fields): void {
    for (const [name, value] of Object.entries(fields)) {
      const [symbol, shift = 0n] = facts[name];
      this.#host.vm.objects.write(this.socket, symbol, BigInt(value) << shift);
    }
  }

  get(name: string): bigint {
    const [symbol, shift = 0n] = facts[name];
    return this.#host.vm.objects.read(this.socket, symbol) >> shift;
  }

  /** An ACK of `acked` packets after `afterUs`. */
  ack(acked: number, afterUs = 0n): OperationResult {
    this.#host.clockUs += afterUs;
    this.set({ lastEventUs: this.#host.clockUs });
    this.event();
    return this.#host.vm.run("cong_avoid", this.socket, this.get("sndNxt"), acked);
  }

  /** An ACK that acknowledges nothing. */
  event(): void {
    this.#host.vm.run("pkts_acked", this.socket, 0n);
  }

  /** The first packet leaves after a time with nothing under way. */
  begin(): void {
    this.#host.vm.run("cwnd_event", this.socket, congestionEvent.transmitStart);
  }

  /** A strategy of its own. The record is there from the first ACK on. */
  follow(fields: Fields): void {
    const isMine = (key: DataView): boolean => key.getUint16(32, true) === this.port;
    if (this.#host.change("strategies", isMine, fields) !== 1)
      throw new Error("The subflow has no record for strategies yet");
  }

  /** The kernel is done with the socket. */
  close(): void {
    this.#host.vm.objects.write(this.socket, "sock_common.skc_state", TCP_CLOSE);
    this.#host.vm.run("release", this.socket);
  }

  /** What congestion control keeps with the socket. */
  memory(): Record<string, bigint> {
    return this.#host.kept("own", this.socket)!;
  }
}

function readFields(slot: StateSlot, value: Uint8Array): Record<string, bigint> {
  const view = new DataView(value.buffer, value.byteOffset);
  return Object.fromEntries(
    slot.fields.map(({ name, type, offset }) => {
      let number = 0n;
      for (let i = fieldSize(type) - 1; i >= 0; i--) number = (number << 8n) | BigInt(view.getUint8(offset + i));
      return [name, number];
    }),
  );
}

function writeFields(slot: StateSlot, value: Uint8Array, fields: Fields): Uint8Array {
  const written = value.slice();
  for (const [name, number] of Object.entries(fields)) {
    const { type, offset } = slot.fields.find((field) => field.name === name)!;
    for (let i = 0; i < fieldSize(type); i++) written[offset + i] = Number((BigInt(number) >> BigInt(8 * i)) & 0xffn);
  }
  return written;
}
