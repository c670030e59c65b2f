/** The policy language: what `import … from "emptcp/policy"` offers. */
export * from "./intrinsics.ts";
export * from "./packet.ts";
export * from "./policy.ts";
export * from "./state.ts";
export * from "./types.ts";
