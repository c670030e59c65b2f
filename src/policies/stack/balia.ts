/** BALIA: balanced linked adaptation, draft-walid-mptcp-congestion-control (Peng, Walid, Hwang and Low). */
import { max, min, u32, u64 } from "../../policy/index.ts";
import { mostWindow, type Survey } from "./paths.ts";

/**
 * How many packets have to be acknowledged before the window grows by one. By the draft it grows, for each, by
 * x ÷ (round trip · (Σ x)²) · (1 + α) ÷ 2 · (4 + α) ÷ 5 with α = max x ÷ x, which is
 * (x + max x) · (4 x + max x) ÷ (10 · window · (Σ x)²): at most 1 ÷ window, as much with one subflow.
 */
export function baliaGrowth({ sumRate, topRate, rate }: Survey, window: u32): u32 {
  const pull = ((rate + topRate) * (rate * 4 + topRate)) >> 16;
  const ratio = (sumRate * sumRate * 10) / pull;
  return max(u32((ratio * min(window, mostWindow)) >> 16), window);
}

/** What a loss leaves of the window: it takes min(α, 1.5) halves. */
export function baliaThreshold({ topRate, rate }: Survey, window: u32): u32 {
  const known = min(window, mostWindow);
  const lost = topRate * 2 >= rate * 3 ? (u64(known) * 3) / 4 : (topRate * known + rate * 2 - 1) / (rate * 2);
  return max(window - u32(lost), 2);
}
