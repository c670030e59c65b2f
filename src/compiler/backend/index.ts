export { emit } from "./emit.ts";
export { ProgramTooLargeError, StackTooLargeError } from "./errors.ts";
