export * from "./clean.ts";
export * from "./execute.ts";
export * from "./lab.ts";
export * from "./plan.ts";
export * from "./spec.ts";
export * from "./workload/transfer.ts";
