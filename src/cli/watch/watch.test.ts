import { describe, expect, test } from "vitest";
import { subflowFlags, type TcpSocket } from "../../linux/diag.ts";
import { parseMptcpInfo } from "../../linux/mptcp-info.ts";
import { parseTcpInfo, type TcpInfo } from "../../linux/tcp-info.ts";
import type { SubflowMetrics } from "../../instack/metrics.ts";
import { shownWidth } from "../table.ts";
import { connectionsOf, flowKey, sorted, type Sample, type WatchedChain, type WatchModel } from "./model.ts";
import { lastScroll, renderScreen, tableLines, type View } from "./render.ts";
import { parseKeys, Screen, updateOf } from "./screen.ts";

const end = (address: string, port: number) => ({ address, port });
const token = 0xcafe;

function subflow(localId: number, tcp: Partial<TcpInfo>, flags = 0, tokenLocal = token): TcpSocket {
  return {
    state: "established",
    local: end(`10.0.${localId}.1`, 4000),
    remote: end(`10.0.${localId}.2`, 80),
    interfaceIndex: 0,
    inode: 100 + localId,
    congestionControl: "cubic",
    tcp: { ...parseTcpInfo(new Uint8Array(0)), ...tcp },
    mptcp: { tokenLocal, tokenRemote: 1, idLocal: localId, idRemote: localId, flags },
  };
}

const sample = (timeMs: number, sockets: readonly TcpSocket[], chains: readonly WatchedChain[] = []): Sample => ({
  timeMs,
  sockets,
  connections: [],
  interfaces: [
    { name: "wifi", addresses: ["10.0.0.1"] },
    { name: "lte", addresses: ["10.0.1.1"] },
  ],
  chains,
  metrics: [],
});

/** What the stack measures of a subflow. */
function metricsOf({ local, remote, mptcp }: TcpSocket, rest: Partial<SubflowMetrics> = {}): SubflowMetrics {
  const view = { token: mptcp!.tokenLocal, id: 1, local, remote, strategy: "none", inFlight: 7, pacingRate: 125_000 };
  return { ...(view as SubflowMetrics), ...rest };
}

describe("connectionsOf()", () => {
  test("gathers subflows by their token, by address ids, and leaves out listeners and plain TCP", () => {
    const listener = { ...subflow(3, {}), state: "listen" as const };
    const { mptcp: _, ...plain } = subflow(4, {});
    const sockets = [subflow(1, { rttUs: 50_000 }, subflowFlags.backupLocal), subflow(0, {}), listener, plain];
    const [connection, ...others] = connectionsOf(sample(0, sockets));
    expect(others).toEqual([]);
    expect(connection).toMatchObject({
      token,
      subflows: [
        { localId: 0, interface: "wifi" },
        { localId: 1, interface: "lte", rttUs: 50_000, backup: "local" },
      ],
    });
    expect(connection.subflows[0]).not.toHaveProperty("backup");
  });

  test("measures rates against the sample before, subflow by subflow and as a whole", () => {
    const before = sample(1000, [subflow(0, { bytesAcked: 1000, bytesReceived: 5 }), subflow(1, { bytesAcked: 0 })]);
    const now = sample(3000, [
      subflow(0, { bytesAcked: 251_000, bytesReceived: 5 }),
      subflow(1, { bytesAcked: 25_000 }),
      subflow(2, { bytesAcked: 9 }),
    ]);
    const [{ subflows, ...whole }] = connectionsOf(now, before);
    expect(subflows.map(({ outBitsPerSecond }) => outBitsPerSecond)).toEqual([1_000_000, 100_000, undefined]);
    expect(whole).toMatchObject({ outBitsPerSecond: 1_100_000, inBitsPerSecond: 0 });
    expect(connectionsOf(now)[0]).not.toHaveProperty("outBitsPerSecond");
  });

  test("tells what the stack measures of a subflow, not of one of another namespace with the same ends", () => {
    const [one, other] = [subflow(0, {}), subflow(1, {})];
    const metrics = [metricsOf(one, { strategy: "rate" }), metricsOf(subflow(1, {}, 0, 0xbeef))];
    const [{ subflows }] = connectionsOf({ ...sample(0, [one, other]), metrics });
    expect(subflows.map(({ measured }) => measured?.strategy)).toEqual(["rate", undefined]);
  });

  test("does not take a later socket with the same ends for the one before", () => {
    const before = sample(0, [subflow(0, { bytesAcked: 5_000_000 })]);
    const now = sample(1000, [{ ...subflow(0, { bytesAcked: 10 }), inode: 7 }]);
    expect(connectionsOf(now, before)[0].subflows[0]).not.toHaveProperty("outBitsPerSecond");
  });

  test("names the chains that see a subflow's interface, or have met it where they keep records, or act on sockets", () => {
    const met = new Map([[flowKey(end("10.0.0.1", 4000), end("10.0.0.2", 80)), { seen: 1 }]]);
    const chains: WatchedChain[] = [
      { name: "sees-wifi", interfaces: ["wifi"], onSockets: false },
      { name: "met-wifi", interfaces: ["wifi", "lte"], onSockets: false, flows: met },
      { name: "sockets", interfaces: [], onSockets: true },
    ];
    const [{ subflows }] = connectionsOf(sample(0, [subflow(0, {}), subflow(1, {})], chains));
    expect(subflows.map((one) => one.chains)).toEqual([["sees-wifi", "met-wifi", "sockets"], ["sockets"]]);
  });

  test("gives what record counted of a subflow", () => {
    const fields = { packetsIn: 1, packetsOut: 2, bytesIn: 3, bytesOut: 4, rttUs: 5 };
    const flows = new Map([[flowKey(end("10.0.1.1", 4000), end("10.0.1.2", 80)), { ...fields, stamp: 6 }]]);
    const chains = [{ name: "meter", interfaces: ["lte"], onSockets: false, flows }];
    const [{ subflows }] = connectionsOf(sample(0, [subflow(0, {}), subflow(1, {})], chains));
    expect(subflows.map(({ recorded }) => recorded)).toEqual([undefined, { chain: "meter", ...fields }]);
  });

  test("takes totals from the connection where the kernel lists it, else from its subflows", () => {
    const sockets = [subflow(0, { bytesAcked: 5 }), subflow(1, { bytesAcked: 7 })];
    expect(connectionsOf(sample(0, sockets))[0].sentBytes).toBe(12);
    const info = { ...parseMptcpInfo(new Uint8Array(0)), token, bytesSent: 9 };
    const { local, remote } = sockets[0];
    const connections = [{ state: "close-wait", local, remote, inode: 1, fallback: false, info } as const];
    const found = connectionsOf({ ...sample(0, sockets), connections })[0];
    expect(found).toMatchObject({ sentBytes: 9, state: "close-wait" });
  });
});

/** A connection of one subflow that has sent so much within a second. */
const one = (id: number, rttUs: number, bytes: number) =>
  connectionsOf(sample(1000, [subflow(0, { rttUs, bytesAcked: bytes }, 0, id)]), sample(0, [subflow(0, {}, 0, id)]))[0];

test("sorted() puts the busiest, the largest, the nearest first, and keeps the place of those that are alike", () => {
  const all = [one(1, 30, 10), one(2, 10, 20), one(3, 20, 9_000_000)];
  const tokens = (order: Parameters<typeof sorted>[1]) => sorted(all, order).map((connection) => connection.token);
  expect(tokens("rate")).toEqual([3, 1, 2]);
  expect(tokens("bytes")).toEqual([3, 2, 1]);
  expect(tokens("rtt")).toEqual([2, 3, 1]);
  expect(tokens("address")).toEqual([1, 2, 3]);
});

const view: View = { width: 200, height: 24, scroll: 0, order: "address", colour: false, title: "every 1 s" };

function modelOf(count: number, more: Partial<WatchModel> = {}): WatchModel {
  const sockets = Array.from({ length: count }, (_, i) => subflow(i, { rttUs: 20_000, sndCwnd: 10 }, 0, i + 1));
  return { timeMs: 0, connections: connectionsOf(sample(0, sockets)), events: [], notes: [], ...more };
}

describe("renderScreen()", () => {
  test("shows a line for each connection and for each subflow under it", () => {
    const lines = renderScreen(modelOf(1), view);
    expect(lines[0]).toMatch(/^emptcp watch .*1 connection, 1 subflow, by address/);
    expect(lines[3]).toMatch(/^00000001 {2}1 subflow +established/);
    expect(lines[4]).toMatch(/^ {2}wifi +10\.0\.0\.1:4000 > 10\.0\.0\.2:80 +established +0\/0 +normal +20\.0 ms +10/);
  });

  test("fills the screen exactly, whatever its size and content, and no line is wider", () => {
    const events = Array.from({ length: 9 }, (_, i) => ({ kind: "closed", timeMs: i, token: i }) as const);
    for (const height of [1, 2, 5, 10, 24])
      for (const width of [1, 20, 80, 120])
        for (const model of [modelOf(0), modelOf(9), modelOf(3, { events, notes: ["Chains are not shown"] })]) {
          const lines = renderScreen(model, { ...view, width, height, colour: true });
          expect(lines).toHaveLength(height);
          expect(Math.max(...lines.map(shownWidth))).toBeLessThanOrEqual(width);
        }
  });

  test("scrolls to the last line and no further", () => {
    const model = modelOf(30);
    const last = lastScroll(model, view.height);
    const shown = (scroll: number) => renderScreen(model, { ...view, scroll });
    expect(shown(0).join("\n")).not.toContain("10.0.29.1");
    expect(shown(last).at(-2)).toContain("10.0.29.1");
    expect(shown(last + 100)).toEqual(shown(last));
    expect(shown(1)[3]).toBe(shown(0)[4]);
  });

  test("shows the latest events of the path manager with their connection", () => {
    const event = {
      kind: "subflow_established",
      timeMs: 0,
      token: 0xbeef,
      local: end("10.0.1.1", 4000),
      remote: end("10.0.1.2", 80),
      localId: 1,
      remoteId: 2,
      backup: true,
    } as const;
    expect(renderScreen(modelOf(1, { events: [event] }), view).join("\n")).toMatch(
      /0000beef {2}subflow_established {2}10\.0\.1\.1:4000 > 10\.0\.1\.2:80 {2}ids 1\/2 {2}backup/,
    );
  });
});

test("tableLines() shows what the stack measures where it measures anything", () => {
  const socket = subflow(0, {});
  const of = (metrics: SubflowMetrics[]) => ({
    ...modelOf(0),
    connections: connectionsOf({ ...sample(0, [socket, subflow(1, {})]), metrics }),
  });
  expect(tableLines(of([]), "rate", false)[0]).not.toMatch(/STRATEGY/);
  const metrics = metricsOf(socket, { strategy: "rate", delivered: 12_345, lost: 6 });
  const [titles, , measured, other] = tableLines(of([metrics]), "rate", false);
  expect(titles).toMatch(/STRATEGY +IN FLIGHT +PACING +DELIVERED +LOST/);
  expect(measured).toMatch(/rate +7 +1\.0 Mbit\/s +12 345 +6/);
  expect(other).toMatch(/- +- +- +- +-/);
});

test("tableLines() leaves out what matters least where the line is narrow, and keeps round-trip times and chains", () => {
  const [wide] = tableLines(modelOf(1), "rate", false);
  const [narrow] = tableLines(modelOf(1), "rate", false, 100);
  expect(wide).toMatch(/STATE.*CWND.*SENT.*CHAINS/);
  expect(narrow.length).toBeLessThanOrEqual(100);
  expect(narrow).toMatch(/CONNECTION.*RTT.*OUT.*CHAINS/);
  expect(narrow).not.toContain("SENT");
});

describe("the terminal", () => {
  test("updateOf() writes only the lines that changed, and nothing when none did", () => {
    const update = updateOf(["a", "b", "c"], ["a", "B"]);
    expect(update).toContain("\u001b[2;1HB");
    expect(update).toContain("\u001b[3;1H\u001b");
    expect(update).not.toContain("\u001b[1;1H");
    expect(updateOf(["a"], ["a"])).toBe("");
  });

  test("Screen leaves the terminal as it found it", () => {
    const written: string[] = [];
    const screen = new Screen({ write: (text) => written.push(text) });
    screen.show(["a"]);
    screen.close();
    const all = written.join("");
    expect(all.indexOf("\u001b[?1049h")).toBeLessThan(all.indexOf("\u001b[?1049l"));
    expect(all.indexOf("\u001b[?25l")).toBeLessThan(all.indexOf("\u001b[?25h"));
  });

  test("Screen draws everything again after the terminal's size has changed", () => {
    const written: string[] = [];
    const screen = new Screen({ write: (text) => written.push(text) });
    screen.show(["a"]);
    screen.forget();
    written.length = 0;
    screen.show(["a"]);
    expect(written.join("")).toContain("a");
  });

  test("parseKeys() knows arrows in both modes, letters and control characters, also several at once", () => {
    expect(parseKeys("\u001b[A\u001bOBjk\u001b[5~ \u001b[6~gGs")).toEqual([
      "up",
      "down",
      "down",
      "up",
      "pageUp",
      "pageDown",
      "pageDown",
      "top",
      "bottom",
      "sort",
    ]);
    expect(parseKeys("x\u001b[15~\u0003q")).toEqual(["quit", "quit"]);
  });
});
