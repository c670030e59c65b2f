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
