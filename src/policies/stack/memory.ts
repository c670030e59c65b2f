/** What congestion control `emptcp` keeps: with each socket, of each subflow for its siblings, and the maps it shares. */
import {
  flows,
  perSocket,
  shared,
  table,
  u32,
  u64,
  u8,
  type StateRecord,
  type StateViews,
} from "../../policy/index.ts";
import { congestionStrategies, metricSlots, subflowMetrics, subflowStrategies } from "../strategies.ts";
import { liaFields } from "./lia.ts";
import { oliaFields } from "./olia.ts";
import { surveyFields } from "./paths.ts";
import { wvegasFields } from "./wvegas.ts";

const memoryFields = {
  ...surveyFields,
  ...liaFields,
  ...oliaFields,
  ...wvegasFields,
  refreshedUs: u64,
  /** The strategy in force, and how much of it: bytes, a rate, a weight or an algorithm. */
  kind: u32,
  amount: u64,
  /** The cap of pacing that was set for the strategy, 0 while none is, and the one that was there without it. */
  paced: u64,
  unpaced: u64,
  /** Who paced before: see `StackSocket.pacingStatus`. */
  pacedBy: u32,
  /**
   * Coupled: the window grows by one for as many packets as this; of OLIA, what it grows or shrinks by per packet, times the
   * window, of 65 536. What a loss leaves of the window, of 65 536.
   */
  growth: u32,
  shrinks: u8,
  kept: u32,
  /** Credit: what was granted last, and when. */
  granted: u64,
  grantedUs: u64,
  /** By weight: what one unit of weight carries (see `weight.ts`), and the id of the subflow that decides it. */
  unitRate: u64,
  tightest: u32,
  /** The round in which arrivals are counted: when it began, with what delivered and what pacing; whether there was data. */
  roundUs: u64,
  roundDelivered: u32,
  roundPaced: u64,
  roundBusy: u8,
  /** Bytes per second of the two rounds before it. */
  arrivedLast: u64,
  arrivedBefore: u64,
  /** Whether the maps know of the subflow, as whose (0 on plain TCP), and its slot of metrics plus one. */
  attached: u8,
  owner: u64,
  slot: u32,
};
export type Memory = StateRecord<typeof memoryFields>;

export const state = {
  own: perSocket(memoryFields),
  /** What subflows tell their siblings: bytes acknowledged at the last loss, and between the last two. */
  losses: flows({ ackedAtLoss: u64, ackedBetweenLosses: u64 }, 16_384),
  /** What subflows with weights tell: bytes per second that they carry, and whether that is all they were allowed. */
  shares: flows({ carriedRate: u64, keepsUp: u8 }, 16_384),
  connections: table(u32, { subflows: u32 }, 16_384),
  /** How many sockets follow credits. */
  users: shared({ credit: u32 }),
  strategies: subflowStrategies,
  congestion: congestionStrategies,
  metrics: subflowMetrics,
  slots: metricSlots,
};
export type State = StateViews<typeof state>;
