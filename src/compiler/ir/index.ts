export * from "./builder.ts";
export * from "./ir.ts";
export { print } from "./print.ts";
export { MalformedIrError, verify } from "./verify.ts";
