/** The optimiser: its passes in order, until nothing changes. */
import type { IrFunction } from "../../ir/ir.ts";
import { widenChecks } from "./checks.ts";
import { cleanFlow } from "./clean.ts";
import { removeDead } from "./dead.ts";
import { numberValues } from "./number.ts";

/** Later rounds find little; the compiler has to be quick. */
const MAX_ROUNDS = 4;

/**
 * Makes `fn` cheaper to run, in place: constants, common subexpressions and loads, dead code, known branches, bounds checks.
 * What the program does stays the same, and so does what the verifier can know about addresses.
 */
export function optimise(fn: IrFunction): void {
  cleanFlow(fn);
  for (let round = 0; round < MAX_ROUNDS; round++) {
    let changed = numberValues(fn);
    changed = removeDead(fn) || changed;
    changed = cleanFlow(fn) || changed;
    changed = widenChecks(fn) || changed;
    if (!changed) return;
  }
}
