/** emptcp: policy chains for Multipath TCP. */
export * from "./chain/index.ts";
