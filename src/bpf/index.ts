export * from "./asm.ts";
export * from "./decode.ts";
export * from "./encode.ts";
export * from "./helpers.ts";
export * from "./instruction.ts";
export * from "./opcodes.ts";
export * from "./spec.ts";
