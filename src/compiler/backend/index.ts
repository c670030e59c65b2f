export { emit } from "./emit.ts";
export { ProgramTooLargeError, StackTooLargeError } from "./errors.ts";
export { optimise } from "./optimise/index.ts";
