/** Actors in the kernel's stack: registered, listed, replaced, removed. */
export { listInStack, openInStack, type StackLeftovers } from "./actors.ts";
export type { Owner, StackDescription } from "./description.ts";
export { InStackBusyError, InStackError, InStackExistsError, NoSuchInStackError } from "./errors.ts";
export { moveSockets, type Moved } from "./move.ts";
export { registerInStack, type InStackOptions } from "./register.ts";
export {
  RunningInStack,
  type MoveOptions,
  type OperationRates,
  type OperationRuns,
  type StackUser,
} from "./running.ts";
