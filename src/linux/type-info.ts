/** BTF for the kernel: what programs and maps say of their types. */
import { bpf } from "./bpf-syscall.ts";
import { KernelObject } from "./kernel-object.ts";

/** @param what for messages, e.g. `program mark` */
export function loadTypeInfo(btf: Uint8Array, what: string): KernelObject {
  const { result } = bpf("btfLoad", { btf, size: btf.length }, `load the type information of ${what}`, {
    capabilities: ["CAP_BPF"],
  });
  return new KernelObject(result, `type information of ${what}`);
}
