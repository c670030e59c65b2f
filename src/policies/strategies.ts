/**
 * Strategies that actors on packets formulate for actors in the stack (schedulers, congestion control): the contract between
 * the two. A record's flag says whose turn it is, so that neither waits for the other nor does the same work twice: the
 * stack makes the record, acts on what it holds, and offers it when it wants to know more; an actor on packets that claims it
 * writes the next strategy. Fields of a strategy are 0 until there is one. Who writes a strategy writes its kind last, and
 * one whose field is 0 counts as none.
 */
import { claimable, flows, hostWide, slots, table, u16, u32, u64, u8 } from "../policy/index.ts";

/**
 * What a strategy is, and which field says how much: `window` caps the congestion window to `windowBytes`, `rate` paces to
 * `rateBytesPerSecond`, `credit` sends no further than `creditBytes` says, `weight` carries a share of the connection as large
 * as `weight` is among those of its subflows, `coupled` lets `algorithm` grow the window.
 */
export const strategy = { none: 0, window: 1, rate: 2, credit: 3, weight: 4, coupled: 5 } as const;

/** Values of a coupled strategy's `algorithm`. */
export const coupling = { lia: 1, olia: 2, balia: 3, wvegas: 4 } as const;

/** For all subflows of a connection, each for itself, by the token of this host; a subflow's own goes first. */
export const congestionStrategies = hostWide(
  "cong_strategies",
  claimable(table(u32, { kind: u8, algorithm: u8, windowBytes: u64, rateBytesPerSecond: u64 }, 4096)),
);

/**
 * For one subflow. `creditBytes` is counted on as the subflow's sequence numbers are: its low 32 bits name the byte up to which
 * it may send, so that `u32(u32(creditBytes) - sndNxt)` is what is left, nothing when that is 2^31 or more. It stays right
 * whatever was sent without credit or is sent again, and whenever whoever reads it begins.
 */
export const subflowStrategies = hostWide(
  "sched_strategies",
  claimable(
    flows(
      {
        kind: u8,
        algorithm: u8,
        weight: u32,
        rttUs: u32,
        windowBytes: u64,
        rateBytesPerSecond: u64,
        creditBytes: u64,
        /** While the stack paces: the cap of pacing that the socket had without it, 2^32 - 1 for none. */
        unpaced: u64,
      },
      16_384,
    ),
  ),
);

/** How many subflows can be measured at once. */
export const mostMeasured = 4096;

/**
 * What congestion control `emptcp` sees of each MPTCP subflow under it, anew at most each millisecond; units as in
 * `SubflowFacts`. `owner` is the connection's token << 32 | the subflow's id; 0 is a free slot.
 */
export const subflowMetrics = hostWide(
  "subflow_metrics",
  slots(
    {
      owner: u64,
      /** On the clock of `now()`, in µs. */
      updatedUs: u64,
      /** Addresses in network order, IPv4 ones mapped (::ffff:a.b.c.d), four words as they lie in memory; ports in host order. */
      local0: u32,
      local1: u32,
      local2: u32,
      local3: u32,
      remote0: u32,
      remote1: u32,
      remote2: u32,
      remote3: u32,
      localPort: u16,
      remotePort: u16,
      /** The kind of strategy in force. */
      kind: u8,
      caState: u8,
      backup: u8,
      cwnd: u32,
      ssthresh: u32,
      mss: u32,
      srttUs: u32,
      rttVarUs: u32,
      minRttUs: u32,
      inFlight: u32,
      lost: u32,
      retransmissions: u32,
      delivered: u32,
      queuedBytes: u32,
      notSentBytes: u32,
      pacingRate: u64,
      maxPacingRate: u64,
      deliveryRate: u64,
      bytesSent: u64,
      bytesAcked: u64,
      bytesRetransmitted: u64,
      /** Of the connection: data sequence numbers. */
      sndNxt: u64,
      sndUna: u64,
    },
    mostMeasured,
  ),
);

/** Where a subflow's metrics are, for actors on packets. */
export const metricSlots = hostWide("metric_slots", flows({ slot: u32 }, 8192));
