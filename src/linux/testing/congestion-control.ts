/** Congestion control by hand, for tests: the kernel's Reno through its functions, or a window that never changes. */
import * as asm from "../../bpf/asm.ts";
import type { ProgramSpec, StructOpsSpec } from "../../bpf/spec.ts";
import { loadCollection } from "../collection.ts";
import type { KernelMap } from "../maps.ts";
import type { KernelProgram } from "../programs.ts";
import { congestionOperation, renoOperations } from "../stack-probes.ts";
import { createStructOps } from "../struct-ops.ts";

const struct = "tcp_congestion_ops";
/** TCP_CONG_NON_RESTRICTED: network namespaces other than the first may use it. */
const NON_RESTRICTED = 1;

function fixed(packets: number): ProgramSpec {
  return congestionOperation("cong_avoid", [
    asm.load(8, 1, 1, 0),
    asm.alu64.mov.imm(2, packets),
    asm.storeField(4, 1, "tcp_sock", "snd_cwnd", 2),
    asm.alu64.mov.imm(0, 0),
    asm.exit(),
  ]);
}

export interface HandMadeControl extends Disposable {
  readonly map: KernelMap;
  readonly programs: Readonly<Record<string, KernelProgram>>;
}

/** Loads it, ready to be registered. @param cwnd packets, for a window that never changes */
export function loadControl(name: string, cwnd?: number): HandMadeControl {
  const specs = cwnd === undefined ? renoOperations : { ...renoOperations, cong_avoid: fixed(cwnd) };
  const collection = loadCollection({ programs: specs });
  try {
    const map = createStructOps(controlSpec(name), collection.programs);
    return {
      map,
      programs: collection.programs,
      [Symbol.dispose]() {
        map.close();
        collection.close();
      },
    };
  } catch (error) {
    collection.close();
    throw error;
  }
}

export function controlSpec(name: string): StructOpsSpec {
  const operations = Object.fromEntries(Object.keys(renoOperations).map((member) => [member, member]));
  return { struct, operations, values: { name, flags: NON_RESTRICTED } };
}

const IPPROTO_TCP = 6;
const TCP_CONGESTION = 13;

/** Gives each running TCP socket that it is shown the congestion control that has the name now. */
export function mover(name: string): ProgramSpec {
  const text = new Uint8Array(16);
  new TextEncoder().encodeInto(name, text);
  const half = (at: number) => new DataView(text.buffer).getBigUint64(at, true);
  return {
    name: "mover",
    type: "tracing",
    attachType: "traceIter",
    attachTarget: "bpf_iter_tcp",
    license: "GPL",
    maps: {},
    instructions: [
      asm.loadField(8, 1, 1, "bpf_iter__tcp", "sk_common"),
      asm.jump64.eq.imm(1, 0, 15),
      asm.call("skcToTcpSock"),
      asm.jump64.eq.imm(0, 0, 13),
      asm.loadImm64(1, half(0)),
      asm.store(8, 10, -16, 1),
      asm.loadImm64(1, half(8)),
      asm.store(8, 10, -8, 1),
      asm.alu64.mov.reg(1, 0),
      asm.alu64.mov.imm(2, IPPROTO_TCP),
      asm.alu64.mov.imm(3, TCP_CONGESTION),
      asm.alu64.mov.reg(4, 10),
      asm.alu64.add.imm(4, -16),
      asm.alu64.mov.imm(5, text.length),
      asm.call("setsockopt"),
      asm.alu64.mov.imm(0, 0),
      asm.exit(),
    ],
  };
}
