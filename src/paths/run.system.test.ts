import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { addresses, HostPair, run } from "../linux/testing/host-pair.ts";
import { controller, ndiffports, runControllers, type ControllerFailure, type ControllerRun } from "./index.ts";

// Controllers on connections of the kernel.

const name = `emptcp-controllers-${process.pid}`;
const runs: ControllerRun[] = [];
const failures: ControllerFailure[] = [];
let pair: HostPair;

beforeEach(async () => {
  pair = await HostPair.open({ name, client: "userspace" });
});
afterEach(() => {
  for (const one of runs.splice(0)) one.close();
  failures.length = 0;
  pair.close();
});

const start = async (...controllers: Parameters<typeof runControllers>[0]): Promise<ControllerRun> => {
  const started = await runControllers(controllers, { netns: pair.client, failed: (one) => failures.push(one) });
  runs.push(started);
  return started;
};
const eventually = (check: () => void) => vi.waitFor(check, { timeout: 10_000 });

test("ndiffports() gives each connection its subflows, those that were there before, too", async () => {
  await pair.connect();
  const { connections } = await start(ndiffports({ subflows: 3 }));
  expect(connections).toHaveLength(1);
  await eventually(() => expect(connections[0].subflows).toHaveLength(3));
  await pair.connect();
  await eventually(() => expect(runs[0].connections.map(({ subflows }) => subflows.length)).toEqual([3, 3]));
  const ports = new Set(connections[0].subflows.map(({ local }) => local.port));
  expect(ports.size).toBe(3);
  expect(failures).toEqual([]);
});

test("timeout() is told of subflows that ran before, with what their timer is now", async () => {
  const { client } = await pair.connect();
  const told: { port: number; rtoMs: number }[] = [];
  await start(
    controller({ name: "timers", timeout: ({ local }, rtoMs) => void told.push({ port: local.port, rtoMs }) }),
  );
  run("ip", "-n", pair.server, "link", "set", "one", "down");
  run(
    "ip",
    "-n",
    pair.client,
    "neighbour",
    "replace",
    addresses.server[0],
    "lladdr",
    "02:00:00:00:00:01",
    "dev",
    "one",
    "nud",
    "permanent",
  );
  client.write("lost");
  await eventually(() => expect(told.length).toBeGreaterThanOrEqual(2));
  expect(new Set(told.map(({ port }) => port))).toEqual(new Set([client.localPort]));
  expect(told[1].rtoMs).toBeGreaterThan(told[0].rtoMs);
});
