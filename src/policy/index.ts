/** The policy language: what `import … from "emptcp/policy"` offers. */
export * from "./event.ts";
export * from "./intrinsics.ts";
export * from "./packet.ts";
export * from "./policy.ts";
export * from "./socket.ts";
export * from "./stack.ts";
export * from "./state.ts";
export * from "./types.ts";
