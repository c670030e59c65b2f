/** OLIA: opportunistic linked increases, draft-khalili-mptcp-congestion-control (Khalili, Gast, Popovic and Le Boudec). */
import { min, u32, u64, type StateRecord } from "../../policy/index.ts";
import type { Survey } from "./paths.ts";

/** The subflow that seems best: the most that it carried between two losses, squared, by its round trip. */
export const oliaFields = { bestCarried: u64, bestRttUs: u32, bestWindow: u32, isBest: u32, shrink: u32 };
type Found = StateRecord<typeof oliaFields>;

/** One: gains are in units of 2^-16. */
const one = 65_536;

export function beginBest(found: Found): void {
  found.bestCarried = 0;
  found.bestRttUs = 1;
  found.bestWindow = 0;
  found.isBest = 0;
}

/**
 * Compares a subflow with the best so far; of equals the first one counts.
 * @param carried KiB between two losses, the larger of the present distance and the one before
 */
export function compare(found: Found, carried: u64, rttUs: u32, window: u32, isOwn: boolean): void {
  const its = min(carried, 1 << 20) + 1;
  const itsRttUs = min(rttUs, 1 << 22);
  if (its * its * found.bestRttUs <= found.bestCarried * found.bestCarried * itsRttUs) return;
  found.bestCarried = its;
  found.bestRttUs = itsRttUs;
  found.bestWindow = window;
  found.isBest = isOwn ? 1 : 0;
}

/** What an acknowledged packet adds to the window, times the window: (x ÷ Σ x)², that of LIA's which keeps the balance. */
export function oliaBalance({ sumRate, rate }: Survey): u32 {
  return min(u32((rate * rate) / ((sumRate * sumRate) >> 16)), one);
}

/** What the best subflow gets on top while it has not the largest window: 1 ÷ number of subflows. */
export function oliaGain(found: Found, paths: Survey): u32 {
  return found.isBest === 1 && found.bestWindow < paths.largest ? one / paths.subflows : 0;
}

/** What those with the largest window give for that, as many as there are of them. */
export function oliaLoss(found: Found, paths: Survey, window: u32): u32 {
  return window >= paths.largest && found.bestWindow < paths.largest ? one / (paths.subflows * paths.largestCount) : 0;
}
