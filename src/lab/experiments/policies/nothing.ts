import { actor } from "../../../policy/index.ts";

/** Does nothing: what a chain costs before its policies do anything. */
export const nothing = actor({ name: "nothing", run() {} });
