/**
 * What coupled congestion control knows of a connection's subflows. With x = window · mss / round trip of each, all its
 * formulas need ratios of rates alone: rates are kept relative to their sum, which is scaled to lie between 2^26 and 2^27.
 */
import {
  congestionState,
  max,
  min,
  u32,
  u64,
  type Connection,
  type StateRecord,
  type SubflowFacts,
} from "../../policy/index.ts";

/** Scaled by `scaleUp` and `scaleDown`, the rates of all subflows together, of the fastest, and of the one in question. */
export const surveyFields = {
  sumRate: u64,
  topRate: u64,
  rate: u64,
  scaleUp: u32,
  scaleDown: u32,
  /** How many subflows there are that count, the largest window among them, and how many have that. */
  subflows: u32,
  largest: u32,
  largestCount: u32,
};
export type Survey = StateRecord<typeof surveyFields>;

/** Larger windows count as this, in packets. */
export const mostWindow = 65_536;
const mostMss = 65_535;

/** The window that a subflow has, or comes to when the reduction is over that is under way. */
export function windowOf(subflow: SubflowFacts): u32 {
  const reduces = subflow.caState === congestionState.cwr || subflow.caState === congestionState.recovery;
  return max(min(reduces ? subflow.ssthresh : subflow.cwnd, mostWindow), 1);
}

/** Bytes per µs in units of 2^-27, below 2^59; 0 before the first round trip. */
export function rateOf(window: u32, mss: u32, rttUs: u32): u64 {
  return ((u64(window) * min(mss, mostMss)) << 27) / rttUs;
}

/** Whether a subflow is in use: it has been measured, and is no backup that rests. */
export function counts(subflow: SubflowFacts, id: u32): boolean {
  return subflow.srttUs !== 0 && (subflow.id === id || !subflow.backup || subflow.packetsOut !== 0);
}

/** A rate as the survey's are. */
export function scaled(survey: Survey, rate: u64): u64 {
  return (rate << survey.scaleUp) >> survey.scaleDown;
}

/** Begins a survey of subflows, each of which is then shown to `meet`. */
export function begin(survey: Survey): void {
  survey.sumRate = 0;
  survey.topRate = 0;
  survey.rate = 0;
  survey.subflows = 0;
  survey.largest = 0;
  survey.largestCount = 0;
}

export function meet(survey: Survey, window: u32, rate: u64, isOwn: boolean): void {
  survey.subflows = survey.subflows + 1;
  survey.sumRate = survey.sumRate + rate;
  survey.topRate = max(survey.topRate, rate);
  if (isOwn) survey.rate = rate;
  if (window > survey.largest) {
    survey.largest = window;
    survey.largestCount = 0;
  }
  if (window === survey.largest) survey.largestCount = survey.largestCount + 1;
}

/** The sum of all rates lies in [unit, 2 · unit) when it is scaled. */
const unit = 1 << 26;

/** Ends it: scales the rates. All is kept in memory, where the verifier does not follow each scale on its own. */
export function end(survey: Survey): void {
  survey.scaleUp = 0;
  survey.scaleDown = 0;
  for (let i = 0; i < 5; i++) {
    const step = 16 >> i;
    if (survey.sumRate >= (2 * unit) >> step) continue;
    survey.sumRate = survey.sumRate << step;
    survey.scaleUp = survey.scaleUp + step;
  }
  for (let i = 0; i < 6; i++) {
    const step = 32 >> i;
    if (survey.sumRate >> step < unit) continue;
    survey.sumRate = survey.sumRate >> step;
    survey.scaleDown = survey.scaleDown + step;
  }
  survey.topRate = scaled(survey, survey.topRate);
  survey.rate = scaled(survey, survey.rate);
}

/** Surveys the subflows of a connection, of which `id` is the one in question. */
export function survey(found: Survey, connection: Connection, id: u32): void {
  begin(found);
  for (const subflow of connection.subflows) {
    if (!counts(subflow, id)) continue;
    const window = windowOf(subflow);
    meet(found, window, rateOf(window, subflow.mss, subflow.srttUs), subflow.id === id);
  }
  end(found);
}
