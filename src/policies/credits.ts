/**
 * How grants travel (RFC 6994, an experimental option): the number of the byte behind the last one that the subflow may send.
 * That says the same however often it comes, and makes good for those before it that were lost.
 */
import type { TcpOption } from "../policy/index.ts";

export const grantKind = 254;
/** Bytes: kind, length, two for the experiment, and the number. */
export const grantLength = 8;
/** Tells grants from the experiments of others. */
export const grantExperiment = 0xecd7;

export function isGrant(option: TcpOption): boolean {
  return option.kind === grantKind && option.length === grantLength && option.u16(2) === grantExperiment;
}
