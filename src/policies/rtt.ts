import { kind, now, type Packet } from "../policy/index.ts";

/** What `observeRtt` keeps of a flow. */
export interface RttState {
  /** The timestamp a packet of ours carried, and when it left; 0 when none is under way. */
  stamp: number;
  stampNs: number;
  /** Smoothed round-trip time in µs (RFC 6298, gain 1/8); 0 before the first sample. */
  rttUs: number;
}

/**
 * Measures the round-trip time from TCP timestamps: the first packet to leave with a timestamp starts the clock, the first
 * to return its echo stops it. Needs packets of both directions.
 */
export function observeRtt({ tcp, egress }: Packet, flow: RttState): void {
  for (const option of tcp.options) {
    if (option.kind !== kind.timestamps) continue;
    if (egress) {
      if (flow.stampNs === 0) {
        flow.stamp = option.u32(2);
        flow.stampNs = now();
      }
    } else if (flow.stampNs !== 0 && option.u32(6) - flow.stamp < 0x8000_0000) {
      const sampleUs = (now() - flow.stampNs) / 1000;
      flow.rttUs = flow.rttUs === 0 ? sampleUs : (flow.rttUs * 7 + sampleUs) / 8;
      flow.stampNs = 0;
    }
    return;
  }
}
