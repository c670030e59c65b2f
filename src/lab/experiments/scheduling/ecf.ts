/**
 * A scheduler that makes a vector of rates, as in the paper's Listing 5, after ECF (Lim et al., CoNEXT 2017): what is given to
 * a slow path must not arrive after everything else could have arrived on the fast one. Pure.
 */

/** A subflow as its sender sees it. */
export interface PathFacts {
  readonly rttUs: number;
  /** Its share of what its path carries. */
  readonly bytesPerSecond: number;
}

/** The kernel's scheduler gives a subflow so much at once (MPTCP_SEND_BURST_SIZE, net/mptcp/protocol.h). */
const burstBytes = 1 << 16;
/** Of what a slow path carries, so that nothing waits in front of it. */
const part = 0.85;

/**
 * The rate r of each path: what a subflow may send per second, Infinity for as much as it can, 0 for nothing.
 * @param k bytes that are there to be sent and that the peer has room for
 */
export function ecfRates(k: number, paths: readonly PathFacts[]): number[] {
  const fast = paths.reduce((best, path) => (path.rttUs < best.rttUs ? path : best));
  return paths.map((slow) => {
    if (slow === fast) return Infinity;
    const fastUs = fast.rttUs + (1e6 * k) / fast.bytesPerSecond;
    const slowUs = slow.rttUs + (1e6 * burstBytes) / slow.bytesPerSecond;
    return fastUs < slowUs ? 0 : part * slow.bytesPerSecond;
  });
}
