/** What a chain would do, packet by packet. */
export type { Directed, Direction, DirectionSource } from "./direction.ts";
export { explain, Explainer, type ExplainOptions } from "./explain.ts";
export type {
  ActorDeed,
  ExplainedPacket,
  Explanation,
  PacketCopy,
  PacketSummary,
  PacketToExplain,
  SelectorAnswer,
  SkippedPacket,
} from "./explanation.ts";
export type { StateChange } from "./state-changes.ts";
