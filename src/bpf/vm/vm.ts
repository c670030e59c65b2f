/** Runs a program spec without a kernel. */
import type { ProgramSpec } from "../spec.ts";
import {
  Context,
  skbContext,
  sockOpsContext,
  xdpContext,
  type ContextValues,
  type SkbFieldName,
  type SockOpsFieldName,
  type XdpFieldName,
} from "./context.ts";
import { commonHelpers, type CommonHelpers, type Environment } from "./helpers.ts";
import { Machine, type HelperFunction } from "./machine.ts";
import { createMap, type VmMap } from "./maps.ts";
import { region, type Region } from "./memory.ts";
import type { KernelCall, KernelFunction } from "./kernel-functions.ts";
import { KernelObjects } from "./kernel-objects.ts";
import { callableFunctions, pacingHelpers } from "./operation-helpers.ts";
import { FrameLength, Packet } from "./packet.ts";
import { skbHelpers, xdpHelpers, type PacketRun } from "./packet-helpers.ts";
import { Program } from "./program.ts";
import {
  callbackHelpers,
  iteratorHelpers,
  socketOptionHelpers,
  type SocketOptionCall,
  type SocketRun,
} from "./socket-helpers.ts";
import { anySocket, storageHelpers } from "./storage-helpers.ts";

/** Pointers to the iteration and to the socket, and the user's number. */
const ITERATOR_CONTEXT_SIZE = 24;

/** The address of the socket of a sockops program, unless its caller tells one. */
const SOCKET = 0xffff_9000_0000_0000n;

/** Instructions a run may take, as many as the verifier follows. */
const DEFAULT_STEP_LIMIT = 1_000_000;

export interface VmOptions extends Partial<Environment> {
  /** Maps to use (by the key the program refers to them) instead of making them from the spec. */
  readonly maps?: ReadonlyMap<string, VmMap>;
  readonly stepLimit?: number;
  /** Objects of the kernel, instead of its own. */
  readonly objects?: KernelObjects;
  /** What functions of the kernel do that the program calls by name, beyond those the VM has or in place of them. */
  readonly functions?: Readonly<Record<string, KernelFunction>>;
}

export interface RunResult {
  /** The low half of r0, unsigned, as BPF_PROG_TEST_RUN returns it. */
  readonly returnValue: number;
  /** All of r0. */
  readonly r0: bigint;
  /** Instructions executed. */
  readonly steps: number;
}

export interface PacketResult extends RunResult {
  readonly packet: Uint8Array;
  /** XDP metadata, which BPF_PROG_TEST_RUN returns in front of the packet. */
  readonly metadata: Uint8Array;
  /** Values after the run of the fields a program can write; empty for XDP. */
  readonly context: Partial<Record<SkbFieldName, bigint>>;
  readonly redirect: PacketRun["redirect"];
  readonly clones: PacketRun["clones"];
}

export interface SocketResult extends RunResult {
  /** Values after the run of the fields a program can write, and of the callback flags. */
  readonly context: Partial<Record<SockOpsFieldName, bigint>>;
  /** Calls of setsockopt, in order. */
  readonly socketOptions: readonly SocketOptionCall[];
}

export interface OperationResult extends RunResult {
  /** Calls of setsockopt, in order. */
  readonly socketOptions: readonly SocketOptionCall[];
  /** Calls of kernel functions, in order. */
  readonly calls: readonly KernelCall[];
}

/** Context fields of a packet, for tc how many of its bytes are not in fragments, and what its interface takes. */
export type PacketFields = ContextValues<SkbFieldName | XdpFieldName> & {
  readonly linearBytes?: number;
  /** Of the interface: that of the loopback interface by default. */
  readonly mtu?: number;
};
const LOOPBACK_MTU = 65_536;

/**
 * A program with its maps. Runs are independent but for the maps.
 *
 * @throws VmError from every run, when the program does what the kernel would not let it do
 */
export class Vm {
  readonly program: Program;
  /** By the key the program refers to them. */
  readonly maps: ReadonlyMap<string, VmMap>;
  /** What bpf_trace_printk printed, over all runs. */
  readonly traces: string[] = [];
  /** Objects of the kernel, for the program to be run on. */
  readonly objects: KernelObjects;
  private readonly machine: Machine;
  private readonly common: CommonHelpers;
  private packetRun: PacketRun | undefined;
  private socketRun: SocketRun | undefined;
  private calls: KernelCall[] = [];

  constructor(spec: ProgramSpec, options: VmOptions = {}) {
    const environment: Environment = {
      now: options.now ?? (() => BigInt(Math.round(performance.now() * 1e6))),
      random: options.random ?? (() => Math.floor(Math.random() * 2 ** 32)),
    };
    this.maps = new Map(
      Object.entries(spec.maps).map(([name, mapSpec]) => [name, options.maps?.get(name) ?? createMap(mapSpec)]),
    );
    this.objects = options.objects ?? new KernelObjects();
    this.program = new Program(spec, this.maps, this.objects.names);
    this.common = commonHelpers(
      environment,
      (text) => this.traces.push(text),
      (call) => this.packetRun?.packet.invalidate(call),
    );
    const functions = new Map<number, HelperFunction>([...this.common.functions, ...this.helpersOfType()]);
    this.machine = new Machine(functions, options.stepLimit ?? DEFAULT_STEP_LIMIT, {
      memory: this.objects,
      functions: callableFunctions(this.objects, options.functions ?? {}, (call) => this.calls.push(call)),
    });
  }

  /**
   * Runs an xdp or schedCls program on an Ethernet frame. As in BPF_PROG_TEST_RUN, protocol and packet type of an skb come
   * from the frame and the interface is number 1, unless `fields` says otherwise. Unlike there, wireLen is the frame's length,
   * as it is in tc.
   * @throws RangeError for a frame without an Ethernet header or (XDP) of more than 3520 bytes, which the kernel refuses too
   */
  runPacket(frame: Uint8Array, fields: PacketFields = {}): PacketResult {
    const xdp = this.program.spec.type === "xdp";
    if (!xdp && this.program.spec.type !== "schedCls") throw this.wrongType("packets");
    if (frame.length < FrameLength.min) {
      throw new RangeError(`A frame has at least ${FrameLength.min} bytes, not ${frame.length}`);
    }
    if (xdp && frame.length > FrameLength.maxXdp) {
      throw new RangeError(`A frame for XDP has at most ${FrameLength.maxXdp} bytes, not ${frame.length}`);
    }
    const { linearBytes, mtu = LOOPBACK_MTU, ...values } = fields;
    this.machine.begin();
    const packet = new Packet(this.machine.space, frame, xdp ? frame.length : linearBytes);
    const run: PacketRun = { packet, mtu, clones: [] };
    this.packetRun = run;
    const fail = this.machine.error.bind(this.machine);
    const context = xdp
      ? new Context<string>(xdpContext, { ingressIfindex: 1, ...values }, packet, fail)
      : new Context<string>(skbContext, { ...skbDefaults(frame), ...values }, packet, fail);
    const result = this.run(context.region);
    return {
      ...result,
      packet: packet.contents(),
      metadata: packet.metadata(),
      context: context.written(),
      redirect: run.redirect,
      clones: run.clones,
    };
  }

  /** Runs a sockOps program. A full socket is assumed unless `fields` says otherwise. */
  runSocket(fields: ContextValues<SockOpsFieldName>): SocketResult {
    if (this.program.spec.type !== "sockOps") throw this.wrongType("sockets");
    this.machine.begin();
    const fail = this.machine.error.bind(this.machine);
    const context = new Context(sockOpsContext, { isFullsock: 1, sk: SOCKET, ...fields }, undefined, fail);
    const run: SocketRun = { context, options: [] };
    this.socketRun = run;
    const result = this.run(context.region);
    return {
      ...result,
      context: { ...context.written(), cbFlags: context.get("cbFlags") },
      socketOptions: run.options,
    };
  }

  /**
   * Runs an iterator over TCP sockets (`struct bpf_iter__tcp`) on one of them, or on its end. `socket` is
   * the address of one of `objects`, read-only to the program.
   */
  runIteration(socket: bigint | undefined): RunResult & Pick<SocketResult, "socketOptions"> {
    if (this.program.spec.type !== "tracing") throw this.wrongType("iterations");
    this.machine.begin();
    const { space } = this.machine;
    const context = new Uint8Array(ITERATOR_CONTEXT_SIZE);
    const pointers = new DataView(context.buffer);
    const iterator = region("iterator", new Uint8Array(ITERATOR_CONTEXT_SIZE), { writable: false });
    pointers.setBigUint64(0, this.machine.pointer(space.add(iterator)), true);
    pointers.setBigUint64(8, socket ?? 0n, true);
    this.objects.begin({
      given: new Set(socket === undefined ? [] : [socket]),
      writable: false,
      fail: this.machine.error.bind(this.machine),
    });
    const run: SocketRun = { options: [] };
    this.socketRun = run;
    const result = this.run(region("context", context, { writable: false }));
    return { ...result, socketOptions: run.options };
  }

  /**
   * Runs a structOps program: `args` are those of the operation, numbers and addresses of objects. It may write to and hand
   * on what it is called with; everything else it can only read.
   */
  runOperation(args: readonly (number | bigint)[]): OperationResult {
    const { objects } = this;
    if (this.program.spec.type !== "structOps") throw this.wrongType("operations");
    this.machine.begin();
    const words = BigUint64Array.from(args, (arg) => BigInt.asUintN(64, BigInt(arg)));
    objects.begin({
      given: new Set([...words].filter((word) => objects.structAt(word) !== undefined)),
      writable: true,
      fail: this.machine.error.bind(this.machine),
    });
    const run: SocketRun = { options: [] };
    this.socketRun = run;
    this.calls = [];
    const result = this.run(region("context", new Uint8Array(words.buffer), { writable: false }));
    return { ...result, socketOptions: run.options, calls: this.calls };
  }

  /** Runs a program of any type on a context of plain bytes, which it may change. */
  runContext(context: Uint8Array): RunResult {
    this.machine.begin();
    return this.run(region("context", context));
  }

  private run(context: Region): RunResult {
    try {
      const r0 = this.machine.run(this.program, this.machine.space.add(context));
      if (this.common.endRun())
        throw this.machine.error("call", "a ring buffer record is neither submitted nor discarded");
      return { returnValue: Number(r0 & 0xffff_ffffn), r0, steps: this.machine.steps };
    } finally {
      this.common.endRun();
      this.packetRun = undefined;
      this.socketRun = undefined;
    }
  }

  private helpersOfType(): [number, HelperFunction][] {
    const packet = (): PacketRun => {
      if (!this.packetRun) throw this.machine.error("call", "there is no packet in this run");
      return this.packetRun;
    };
    const socket = (): SocketRun => {
      if (!this.socketRun) throw this.machine.error("call", "there is no socket in this run");
      return this.socketRun;
    };
    switch (this.program.spec.type) {
      case "xdp":
        return xdpHelpers(packet);
      case "schedCls":
        return skbHelpers(packet);
      case "sockOps":
        return [...socketOptionHelpers(socket), ...callbackHelpers(socket), ...storageHelpers(anySocket)];
      case "tracing":
        return [...socketOptionHelpers(socket), ...iteratorHelpers(), ...storageHelpers(anySocket)];
      case "structOps": {
        const { objects } = this;
        const given = (machine: Machine, argument: number): bigint => objects.given(machine.wide(argument), argument);
        // The kernel has it for all operations of congestion control but this one.
        const pacing = this.program.spec.operation?.member === "release" ? [] : pacingHelpers(objects, socket);
        return [...storageHelpers(given), ...pacing];
      }
      default:
        return [];
    }
  }

  private wrongType(what: string): TypeError {
    return new TypeError(
      `${this.program.spec.name} is a ${this.program.spec.type} program, which does not see ${what}`,
    );
  }
}

/** Values of `enum` PACKET_* (include/uapi/linux/if_packet.h). */
const PacketType = { host: 0, multicast: 2, otherHost: 3 } as const;
/** Protocols given to frames whose type field is a length (net/ethernet/eth.c, eth_type_trans). */
const ETH_P_802_3 = 0x0001;
const ETH_P_802_2 = 0x0004;

/** What eth_type_trans makes of a frame on the loopback interface, whose address and broadcast address are all zero. */
function skbDefaults(frame: Uint8Array): ContextValues<SkbFieldName> {
  const destination = frame.subarray(0, 6);
  let pktType: number = PacketType.host;
  if ((destination[0] & 1) !== 0) pktType = PacketType.multicast;
  else if (destination.some((byte) => byte !== 0)) pktType = PacketType.otherHost;
  let type = (frame[12] << 8) | frame[13];
  if (type < 0x600) type = frame[14] === 0xff && frame[15] === 0xff ? ETH_P_802_3 : ETH_P_802_2;
  const protocol = ((type & 0xff) << 8) | (type >> 8);
  return { len: frame.length, wireLen: frame.length, pktType, protocol, ifindex: 1 };
}
