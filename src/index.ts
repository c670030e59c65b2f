/** emptcp: policy chains for Multipath TCP, and actors in the kernel's stack. */
export * from "./chain/index.ts";
export * from "./instack/index.ts";
