/** BALIA: balanced linked adaptation, draft-walid-mptcp-congestion-control (Peng, Walid, Hwang and Low). */
import { max, min, u32 } from "../../policy/index.ts";
import { mostWindow, type Survey } from "./paths.ts";

const one = 65_536;

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

/** What a loss leaves of the window, in units of 2^-16: it takes min(α, 1.5) halves. */
export function baliaKept({ topRate, rate }: Survey): u32 {
  return topRate * 2 >= rate * 3 ? one / 4 : one - u32((topRate * (one / 2)) / rate);
}
