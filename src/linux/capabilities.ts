/** The capabilities of this process, read from /proc. Their names are what error messages and `doctor` speak of. */
import { readFileSync } from "node:fs";

/** Bit numbers in the capability sets (include/uapi/linux/capability.h). */
export const capabilityBits = {
  CAP_NET_ADMIN: 12,
  CAP_SYS_ADMIN: 21,
  CAP_PERFMON: 38,
  CAP_BPF: 39,
} as const;
export type Capability = keyof typeof capabilityBits;

/** The capabilities in the text of /proc/<pid>/status that are effective. */
export function parseEffectiveCapabilities(status: string): Set<Capability> {
  const mask = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? "0"}`);
  const present = new Set<Capability>();
  for (const [name, bit] of Object.entries(capabilityBits)) {
    if ((mask >> BigInt(bit)) & 1n) present.add(name as Capability);
  }
  return present;
}

/** The capabilities this thread may use now. */
export function effectiveCapabilities(): Set<Capability> {
  return parseEffectiveCapabilities(readFileSync("/proc/thread-self/status", "utf8"));
}

/** Those of `needed` that are not effective; CAP_SYS_ADMIN stands in for CAP_BPF and CAP_PERFMON. */
export function missingCapabilities(needed: readonly Capability[], present = effectiveCapabilities()): Capability[] {
  return needed.filter((name) => {
    if (present.has(name)) return false;
    return !((name === "CAP_BPF" || name === "CAP_PERFMON") && present.has("CAP_SYS_ADMIN"));
  });
}
