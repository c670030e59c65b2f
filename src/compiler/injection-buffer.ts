/** The per-CPU memory in which a policy leaves an option, and in which the end of the chain puts a segment together. */
import type { MapSpec } from "../bpf/spec.ts";

/** The map's name as programs refer to it. */
export const injectionMap = "injection";

/** Payload that can be moved to make room for an option, in bytes: that of a jumbo frame. */
export const maximumPayload = 9_000;

/**
 * Places in the buffer, in bytes: the new TCP header, which ends where the option begins; the option; the TCP header as it
 * was; addresses on their way; a length; the payload on its way.
 */
export const injectionBuffer = {
  header: 0,
  option: 32,
  before: 72,
  addresses: 136,
  length: 184,
  payload: 192,
} as const;

export const injectionMapSpec: MapSpec = {
  name: "emptcp_inject",
  type: "perCpuArray",
  keySize: 4,
  valueSize: injectionBuffer.payload + maximumPayload,
  maxEntries: 1,
};
