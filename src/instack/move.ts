/** Giving running sockets other congestion control, in all network namespaces of the host. */
import * as asm from "../bpf/asm.ts";
import type { ProgramSpec } from "../bpf/spec.ts";
import {
  createIterLink,
  defaultCongestionControl,
  inEveryNetns,
  KernelError,
  loadProgram,
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

/**
 * Gives all sockets under `from` the congestion control `to`, and so the namespaces whose default it is. With the same name
 * for both they get what has that name now. Each socket goes on from the window it has.
 * @throws KernelError
 */
export function moveSockets(from: string, to: string): Moved {
  using program = loadProgram(mover(from, to), {});
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

const RESULT_BYTES = 4;
const NAME_BYTES = 16;
const IPPROTO_TCP = 6;
const TCP_CONGESTION = 13;
/** All instructions, those that load 64 bits twice. */
const SLOTS = 39;

/** How far a jump from here to the end goes over. */
const skip = (slot: number): number => SLOTS - 2 - slot - 1;

/** Tells TCP_CONGESTION to each socket whose congestion control has a name; writes what each call returned. */
function mover(from: string, to: string): ProgramSpec {
  const [fromLow, fromHigh] = words(from);
  const [toLow, toHigh] = words(to);
  return {
    name: "emptcp_move",
    type: "tracing",
    attachType: "traceIter",
    attachTarget: "bpf_iter_tcp",
    license: "GPL",
    maps: {},
    instructions: [
      asm.alu64.mov.reg(6, 1),
      asm.loadField(8, 1, 1, "bpf_iter__tcp", "sk_common"),
      asm.jump64.eq.imm(1, 0, skip(2)),
      asm.call("skcToTcpSock"),
      asm.jump64.eq.imm(0, 0, skip(4)),
      asm.alu64.mov.reg(7, 0),
      asm.loadField(8, 1, 7, "inet_connection_sock", "icsk_ca_ops"),
      asm.jump64.eq.imm(1, 0, skip(7)),
      asm.addFieldOffset(1, "tcp_congestion_ops", "name"),
      asm.load(8, 2, 1, 0),
      asm.loadImm64(3, fromLow),
      asm.jump64.ne.reg(2, 3, skip(12)),
      asm.load(8, 2, 1, 8),
      asm.loadImm64(3, fromHigh),
      asm.jump64.ne.reg(2, 3, skip(16)),
      asm.loadImm64(1, toLow),
      asm.store(8, 10, -16, 1),
      asm.loadImm64(1, toHigh),
      asm.store(8, 10, -8, 1),
      asm.alu64.mov.reg(1, 7),
      asm.alu64.mov.imm(2, IPPROTO_TCP),
      asm.alu64.mov.imm(3, TCP_CONGESTION),
      asm.alu64.mov.reg(4, 10),
      asm.alu64.add.imm(4, -NAME_BYTES),
      asm.alu64.mov.imm(5, NAME_BYTES),
      asm.call("setsockopt"),
      asm.store(4, 10, -20, 0),
      asm.loadField(8, 1, 6, "bpf_iter__tcp", "meta"),
      asm.loadField(8, 1, 1, "bpf_iter_meta", "seq"),
      asm.alu64.mov.reg(2, 10),
      asm.alu64.add.imm(2, -20),
      asm.alu64.mov.imm(3, RESULT_BYTES),
      asm.call("seqWrite"),
      asm.alu64.mov.imm(0, 0),
      asm.exit(),
    ],
  };
}

/** A name as the two words that the kernel compares it in. */
function words(name: string): [low: bigint, high: bigint] {
  const bytes = new Uint8Array(NAME_BYTES);
  bytes.set(new TextEncoder().encode(name));
  const view = new DataView(bytes.buffer);
  return [view.getBigUint64(0, true), view.getBigUint64(8, true)];
}
