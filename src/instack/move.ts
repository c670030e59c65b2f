/** Giving running sockets other congestion control, in all network namespaces of the host. */
import * as asm from "../bpf/asm.ts";
import { slotsOf } from "../bpf/encode.ts";
import type { Instruction } from "../bpf/instruction.ts";
import type { MapSpec, ProgramSpec } from "../bpf/spec.ts";
import {
  createIterLink,
  defaultCongestionControl,
  inEveryNetns,
  KernelError,
  loadProgram,
  type KernelMap,
  runIter,
  setDefaultCongestionControl,
} from "../linux/index.ts";

export interface Moved {
  /** Sockets that were given it, listening ones among them: those they accept inherit it. */
  readonly sockets: number;
  /** Sockets that the kernel refused it. */
  readonly refused: number;
  /** Network namespaces whose new sockets start with it now, or with Reno where they may not have it. */
  readonly namespaces: number;
}

export const nothingMoved: Moved = { sockets: 0, refused: 0, namespaces: 0 };

/** State of sockets with which an actor says that it caps their pacing: to `paced` (0 where it does not), not `unpaced`. */
export interface PacingMemory {
  readonly spec: MapSpec;
  readonly map: KernelMap;
  /** Bytes from the start of the record: u64 each, as SO_MAX_PACING_RATE has them. */
  readonly pacedAt: number;
  readonly unpacedAt: number;
}

/**
 * Gives all sockets under `from` the congestion control `to`, and so the namespaces whose default it is. With the same name
 * for both they get what has that name now. Each socket goes on from the window it has.
 * @param memory for congestion control that knows nothing of it: caps are taken back
 * @throws KernelError
 */
export function moveSockets(from: string, to: string, memory?: PacingMemory): Moved {
  using program = loadProgram(mover(from, to, memory), memory ? { [memoryKey]: memory.map } : {});
  using link = createIterLink(program);
  const moved = inEveryNetns(() => {
    const namespaces = moveDefault(from, to);
    const results = runIter(link);
    const view = new DataView(results.buffer, results.byteOffset, results.byteLength);
    let refused = 0;
    for (let at = 0; at < results.length; at += RESULT_BYTES) if (view.getInt32(at, true) !== 0) refused++;
    return { sockets: results.length / RESULT_BYTES - refused, refused, namespaces };
  });
  const sum = (of: (one: Moved) => number) => moved.reduce((all, one) => all + of(one), 0);
  return {
    sockets: sum(({ sockets }) => sockets),
    refused: sum(({ refused }) => refused),
    namespaces: sum(({ namespaces }) => namespaces),
  };
}

/** Network namespaces keep what they have as their default also when its name is taken away. @returns how many were changed */
export function moveDefaults(from: string, to: string): number {
  return inEveryNetns(() => moveDefault(from, to)).reduce((all, one) => all + one, 0);
}

function moveDefault(from: string, to: string): number {
  if (defaultCongestionControl() !== from) return 0;
  try {
    setDefaultCongestionControl(to);
  } catch (error) {
    if (!(error instanceof KernelError && error.code === "EPERM")) throw error;
    // Namespaces other than the first may not have all of them; this one they all may.
    setDefaultCongestionControl("reno");
  }
  return 1;
}

const memoryKey = "memory";
const RESULT_BYTES = 4;
const NAME_BYTES = 16;
const IPPROTO_TCP = 6;
const TCP_CONGESTION = 13;
const SOL_SOCKET = 1;
const SO_MAX_PACING_RATE = 47;
const UNLIMITED = 0xffff_ffffn;

/** A label is a string; a jump to one is told how many slots there are in between. */
type Step = Instruction | string | { readonly to: string; readonly jump: (offset: number) => Instruction };

const to = (label: string, jump: (offset: number) => Instruction): Step => ({ to: label, jump });

/** Tells TCP_CONGESTION to each socket whose congestion control has a name; writes what each call returned. */
function mover(from: string, next: string, memory: PacingMemory | undefined): ProgramSpec {
  const [fromLow, fromHigh] = words(from);
  const [toLow, toHigh] = words(next);
  return {
    name: "emptcp_move",
    type: "tracing",
    attachType: "traceIter",
    attachTarget: "bpf_iter_tcp",
    license: "GPL",
    maps: memory ? { [memoryKey]: memory.spec } : {},
    instructions: resolve([
      asm.alu64.mov.reg(6, 1),
      asm.loadField(8, 1, 1, "bpf_iter__tcp", "sk_common"),
      to("next", (offset) => asm.jump64.eq.imm(1, 0, offset)),
      asm.call("skcToTcpSock"),
      to("next", (offset) => asm.jump64.eq.imm(0, 0, offset)),
      asm.alu64.mov.reg(7, 0),
      asm.loadField(8, 1, 7, "inet_connection_sock", "icsk_ca_ops"),
      to("next", (offset) => asm.jump64.eq.imm(1, 0, offset)),
      asm.addFieldOffset(1, "tcp_congestion_ops", "name"),
      asm.load(8, 2, 1, 0),
      asm.loadImm64(3, fromLow),
      to("next", (offset) => asm.jump64.ne.reg(2, 3, offset)),
      asm.load(8, 2, 1, 8),
      asm.loadImm64(3, fromHigh),
      to("next", (offset) => asm.jump64.ne.reg(2, 3, offset)),
      ...(memory ? unpace(memory) : []),
      asm.loadImm64(1, toLow),
      asm.store(8, 10, -16, 1),
      asm.loadImm64(1, toHigh),
      asm.store(8, 10, -8, 1),
      ...setOption(IPPROTO_TCP, TCP_CONGESTION, -16, NAME_BYTES),
      asm.store(4, 10, -20, 0),
      asm.loadField(8, 1, 6, "bpf_iter__tcp", "meta"),
      asm.loadField(8, 1, 1, "bpf_iter_meta", "seq"),
      asm.alu64.mov.reg(2, 10),
      asm.alu64.add.imm(2, -20),
      asm.alu64.mov.imm(3, RESULT_BYTES),
      asm.call("seqWrite"),
      "next",
      asm.alu64.mov.imm(0, 0),
      asm.exit(),
    ]),
  };
}

/** Takes back the cap on the socket in r7, unless somebody has set another one since. */
function unpace({ pacedAt, unpacedAt }: PacingMemory): Step[] {
  return [
    asm.loadMap(1, memoryKey),
    asm.alu64.mov.reg(2, 7),
    asm.alu64.mov.imm(3, 0),
    asm.alu64.mov.imm(4, 0),
    asm.call("skStorageGet"),
    to("moved", (offset) => asm.jump64.eq.imm(0, 0, offset)),
    asm.load(8, 8, 0, pacedAt),
    to("moved", (offset) => asm.jump64.eq.imm(8, 0, offset)),
    asm.load(8, 9, 0, unpacedAt),
    asm.loadField(8, 1, 7, "sock", "sk_max_pacing_rate"),
    asm.loadImm64(2, UNLIMITED),
    asm.jump64.ule.reg(1, 2, 1),
    asm.alu64.mov.reg(1, 2),
    to("moved", (offset) => asm.jump64.ne.reg(1, 8, offset)),
    asm.store(4, 10, -4, 9),
    ...setOption(SOL_SOCKET, SO_MAX_PACING_RATE, -4, 4),
    "moved",
  ];
}

/** Sets an option of the socket in r7 to what is at `at` on the stack. */
function setOption(level: number, option: number, at: number, bytes: number): Instruction[] {
  return [
    asm.alu64.mov.reg(1, 7),
    asm.alu64.mov.imm(2, level),
    asm.alu64.mov.imm(3, option),
    asm.alu64.mov.reg(4, 10),
    asm.alu64.add.imm(4, at),
    asm.alu64.mov.imm(5, bytes),
    asm.call("setsockopt"),
  ];
}

function resolve(steps: readonly Step[]): Instruction[] {
  const places = new Map<string, number>();
  const instructions = steps.map((step) => (typeof step === "object" && "jump" in step ? step.jump(0) : step));
  let slot = 0;
  const at = instructions.map((step) => {
    const here = slot;
    if (typeof step === "string") places.set(step, here);
    else slot += slotsOf(step);
    return here;
  });
  return steps.flatMap((step, i) => {
    if (typeof step === "string") return [];
    return "jump" in step ? [step.jump(places.get(step.to)! - at[i] - 1)] : [step];
  });
}

/** A name as the two words that the kernel compares it in. */
function words(name: string): [low: bigint, high: bigint] {
  const bytes = new Uint8Array(NAME_BYTES);
  bytes.set(new TextEncoder().encode(name));
  const view = new DataView(bytes.buffer);
  return [view.getBigUint64(0, true), view.getBigUint64(8, true)];
}
