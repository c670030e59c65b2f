/** What it takes to find out whether something is there: an attempt, and words for its outcome. */
import { SystemCallError } from "./ffi.ts";
import type { KernelFeature } from "./kernel-error.ts";

export interface Answer {
  readonly present: boolean;
  readonly detail: string;
}

export interface Probe {
  readonly name: string;
  readonly neededFor: string;
  readonly optional?: true;
  readonly remedy: string;
  probe(): Answer;
}

export function present(is: boolean, what: string): Answer {
  return { present: is, detail: is ? what : `${what}: not there` };
}

export function supported(feature: KernelFeature): Answer {
  const is = feature.present();
  return { present: is, detail: is ? "works" : `${feature.name} refused, needs ${feature.needs}` };
}

export function both(first: KernelFeature, second: KernelFeature): Answer {
  const answer = supported(first);
  return answer.present ? supported(second) : answer;
}

/** An exception is the answer of a kernel that cannot. */
export function trying(probe: () => Answer): Answer {
  try {
    return probe();
  } catch (error) {
    const detail = error instanceof SystemCallError ? `${error.call}: ${error.code}` : (error as Error).message;
    return { present: false, detail: detail.split("\n")[0] };
  }
}
