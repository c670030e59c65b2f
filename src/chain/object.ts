/** A chain as an object file, for those who load programs with bpftool or libbpf. */
import { writeElf } from "../bpf/elf/index.ts";
import { parametersMap } from "../compiler/layout.ts";
import type { ChainPlan } from "./policy-chain.ts";

/**
 * The chain's programs, named after their hooks, and its maps; the parameters hold the values they were given.
 * @throws ElfError for what an object file has no way to say
 */
export function writeObject({ compiled: { programs, maps }, parameters }: ChainPlan): Uint8Array {
  const contents = parameters && [{ key: new Uint8Array(4), value: parameters }];
  const withParameters = contents && { [parametersMap]: { ...maps[parametersMap], contents } };
  return writeElf({ programs, maps: { ...maps, ...withParameters } });
}
