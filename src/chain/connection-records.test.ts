import { describe, expect, it } from "vitest";
import { byConnection } from "./connection-records.ts";
import type { FlowRecord } from "./state.ts";

const flow = (localPort: number, fields: Record<string, number>): FlowRecord => ({
  local: "10.0.0.1",
  remote: "10.0.0.2",
  localPort,
  remotePort: 80,
  fields,
});

describe("byConnection()", () => {
  it("sums up what subflows of one token counted, and takes the least round trip", () => {
    const records = byConnection([
      flow(1, { tokenLocal: 7, tokenRemote: 9, packetsIn: 2, bytesIn: 300, rttUs: 50_000 }),
      flow(2, { tokenLocal: 8, packetsIn: 1, bytesIn: 60, rttUs: 0 }),
      flow(3, { tokenLocal: 7, packetsIn: 3, bytesIn: 400, rttUs: 20_000, retransmittedOut: 1 }),
    ]);
    expect(records).toMatchObject([
      { tokenLocal: 7, tokenRemote: 9, subflows: 2, packetsIn: 5, bytesIn: 700, rttUs: 20_000, retransmittedOut: 1 },
      { tokenLocal: 8, tokenRemote: 0, subflows: 1, packetsIn: 1, bytesIn: 60, rttUs: 0 },
    ]);
  });

  it("leaves out subflows whose connection is not known", () => {
    expect(byConnection([flow(1, { tokenLocal: 0, tokenRemote: 0, packetsIn: 5 }), flow(2, {})])).toEqual([]);
  });
});
