/** What a chain would do, packet by packet. */
export type { Directed, Direction, DirectionSource } from "./direction.ts";
export { explain, Explainer, type ExplainOptions } from "./explain.ts";
export type {
  ActorDeed,
  EmittedEvent,
  ExplainedPacket,
  Explanation,
  PacketCopy,
  PacketSummary,
  PacketToExplain,
  SelectorAnswer,
  SkippedPacket,
  Verdict,
} from "./explanation.ts";
export { runningState } from "./running-state.ts";
export type { StateChange } from "./state-changes.ts";
