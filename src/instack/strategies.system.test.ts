import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { deleteNetns, dumpTcpSockets, setDefaultCongestionControl } from "../linux/index.ts";
import { emptcp, listInStack, MetricsReader, registerInStack, Strategies, type StrategyTarget } from "./index.ts";
import { Connections, makeNetns } from "./testing/connections.ts";

const netns = `emptcp-strategies-${process.pid}`;
const name = `emg_${process.pid}`;
let open: Connections | undefined;

beforeAll(() => makeNetns(netns));
afterEach(() => {
  open?.close();
  open = undefined;
  setDefaultCongestionControl("reno", netns);
  for (const running of listInStack()) if (running.name === name) running.remove();
});
afterAll(() => deleteNetns(netns));

async function connect(count: number): Promise<Connections> {
  setDefaultCongestionControl(name, netns);
  open = await Connections.open(netns, count);
  return open;
}

/** What the actor measures here, of clients: they send. */
function measured() {
  using reader = new MetricsReader();
  const here = new Set(clients().map(({ local, remote }) => `${local.port} ${remote.port}`));
  return reader.read().filter(({ local, remote }) => here.has(`${local.port} ${remote.port}`));
}

const clients = () =>
  dumpTcpSockets(netns).filter(({ state, remote }) => state === "established" && remote.port === open!.port);

const caps = () => clients().map(({ tcp }) => tcp!.maxPacingRateBytesPerSecond);
const limit = 5_000_000;

describe("Strategies", () => {
  test("are what subflows do until they are taken back, and outlive a replacement", async () => {
    const running = registerInStack(emptcp, { name, base: "reno" });
    const connections = await connect(1);
    await connections.send(100_000);
    const [{ local, remote, strategy }] = measured();
    expect(strategy).toBe("none");
    using strategies = new Strategies();
    const target = { local, remote };
    strategies.set(target, { kind: "rate", rateBytesPerSecond: limit });
    await connections.send(100_000);
    expect(measured()).toMatchObject([{ strategy: "rate", maxPacingRate: limit }]);
    expect(caps()).toEqual([limit]);
    await running.replace(emptcp, { base: "cubic" });
    await connections.send(100_000);
    expect(measured()).toMatchObject([{ strategy: "rate", maxPacingRate: limit }]);
    strategies.set(target, { kind: "none" });
    await connections.send(100_000);
    expect(measured()).toMatchObject([{ strategy: "none", maxPacingRate: Infinity }]);
    expect(strategies.list().map((one) => one.target)).not.toContainEqual(target);
  });

  test("leave nothing behind on sockets when what follows them is taken out", async () => {
    const running = registerInStack(emptcp, { name, base: "reno" });
    const connections = await connect(2);
    await connections.send(100_000);
    using strategies = new Strategies();
    for (const { token } of measured()) strategies.set({ token }, { kind: "rate", rateBytesPerSecond: limit });
    await connections.send(100_000);
    expect(caps()).toEqual([limit, limit]);
    running.remove({ move: true });
    expect(connections.congestionControls()).toEqual({ reno: 4 });
    for (const cap of caps()) expect(cap).toBeGreaterThan(2 ** 32);
  });

  test("of a connection hold for its subflows, those of subflows first", async () => {
    registerInStack(emptcp, { name, base: "reno" });
    const connections = await connect(1);
    await connections.send(100_000);
    const [{ token, local, remote }] = measured();
    using strategies = new Strategies();
    strategies.set({ token }, { kind: "window", windowBytes: 200_000 });
    await connections.send(200_000);
    expect(measured()).toMatchObject([{ strategy: "window" }]);
    strategies.set({ local, remote }, { kind: "rate", rateBytesPerSecond: limit });
    await connections.send(200_000);
    expect(measured()).toMatchObject([{ strategy: "rate" }]);
    expect(strategies.remove({ local, remote })).toBe(true);
    expect(strategies.remove({ local, remote })).toBe(false);
    await connections.send(200_000);
    expect(measured()).toMatchObject([{ strategy: "window" }]);
    open!.close();
  });

  test("stale() names those of connections that are gone, not those of connections that are", async () => {
    registerInStack(emptcp, { name, base: "reno" });
    const connections = await connect(1);
    await connections.send(50_000);
    const [{ local, remote }] = measured();
    const gone: StrategyTarget = {
      local: { address: "10.255.1.1", port: 1 },
      remote: { address: "10.255.1.2", port: 2 },
    };
    using strategies = new Strategies();
    for (const target of [gone, { local, remote }]) strategies.set(target, { kind: "weight", weight: 3 });
    const stale = strategies.stale().map(({ target }) => target);
    expect(stale).toContainEqual(gone);
    expect(stale).not.toContainEqual({ local, remote });
    strategies.remove(gone);
  });
});
