/** LIA: coupled congestion control, RFC 6356. */
import { max, u32, u64, type Connection, type StateRecord } from "../../policy/index.ts";
import { counts, rateOf, scaled, windowOf, type Survey } from "./paths.ts";

/** What a second walk over the subflows finds: the largest rate² ÷ window, in units of 2^-9. */
export const liaFields = { steepest: u64 };
type Found = StateRecord<typeof liaFields>;

/** Rates are below 2^27 and windows at most 2^16, so this is below 2^63 and, for the subflow that counts, at least 2^37. */
export function steepen(found: Found, window: u32, rate: u64): void {
  found.steepest = max(found.steepest, ((rate * rate) << 9) / window);
}

/**
 * How many packets have to be acknowledged on any subflow before its window grows by one: total window ÷ α, with the α of RFC
 * 6356, section 4.1, for windows in packets and each subflow's own mss (as in the formula of section 3, with
 * x = window · mss ÷ round trip):
 *
 *     total window ÷ α = (Σ x)² ÷ max(x² ÷ window)
 *
 * Off by less than 1 in 1000, and by one for rounding down, for windows of 1 to 65 536 packets, mss from 88 to 65 535 bytes,
 * round trips of 1 µs to 4 s and at most eight subflows: a rate is rounded down by less than 2^-11 (of 88 bytes in 4 s), its
 * square twice that, and to less than 2^-13 more when it is scaled. Windows beyond 65 536 count as such. 0 when nothing is known.
 */
export function liaWindow(found: Found, paths: Survey): u32 {
  return u32(((paths.sumRate * paths.sumRate) << 9) / found.steepest);
}

/** The window by which a subflow grows: never faster than Reno, which grows by its own (the RFC's minimum of the two). */
export function liaGrowth(found: Found & Survey, connection: Connection, id: u32, window: u32): u32 {
  found.steepest = 0;
  for (const subflow of connection.subflows) {
    if (!counts(subflow, id)) continue;
    const its = windowOf(subflow);
    steepen(found, its, scaled(found, rateOf(its, subflow.mss, subflow.srttUs)));
  }
  return max(liaWindow(found, found), window);
}
