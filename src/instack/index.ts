/** Actors in the kernel's stack: registered, listed, replaced, removed. */
export { listInStack, openInStack } from "./actors.ts";
export type { Owner, StackDescription } from "./description.ts";
export { InStackBusyError, InStackError, InStackExistsError, NoSuchInStackError } from "./errors.ts";
export { loadInStackFile } from "./load.ts";
export { MetricsReader, type SubflowMetrics } from "./metrics.ts";
export type { Moved } from "./move.ts";
export { registerInStack, type InStackOptions, type StackPolicy } from "./register.ts";
export {
  RunningInStack,
  type MoveOptions,
  type OperationRates,
  type OperationRuns,
  type StackCounters,
  type StackUser,
} from "./running.ts";
export { Strategies, type Strategy, type StrategyRecord, type StrategyTarget } from "./strategies.ts";
/** Congestion control that follows strategies. */
export { emptcp } from "../policies/stack/index.ts";
