import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { listConnections, PathManager, PathManagerError } from "../linux/index.ts";
import { addresses, HostPair, run } from "../linux/testing/host-pair.ts";
import {
  controller,
  fullmesh,
  runControllers,
  type Connection,
  type ControllerFailure,
  type ControllerRun,
} from "./index.ts";

// What goes wrong under controllers that run.

const name = `emptcp-faults-${process.pid}`;
const runs: ControllerRun[] = [];
const failures: ControllerFailure[] = [];
let pair: HostPair;

beforeEach(async () => {
  pair = await HostPair.open({ name, client: "userspace", server: "userspace" });
});
afterEach(() => {
  for (const one of runs.splice(0)) one.close();
  pair.close();
  expect(failures.splice(0)).toEqual([]);
});

const start = async (netns: string, ...controllers: Parameters<typeof runControllers>[0]): Promise<ControllerRun> => {
  const started = await runControllers(controllers, { netns, failed: (one) => failures.push(one) });
  runs.push(started);
  return started;
};
const eventually = (check: () => void) => vi.waitFor(check, { timeout: 15_000 });

const ends = ({ local, remote }: Pick<Connection, "local" | "remote">) =>
  `${local.address} ${local.port} ${remote.address} ${remote.port}`;
/** What the kernel lists, and what is known of it. */
const inKernel = () =>
  listConnections(pair.client)[0]
    .subflows.filter(({ state }) => state === "established")
    .map(ends)
    .sort();
const known = ({ subflows }: Connection) => subflows.map(ends).sort();

const [first, second] = addresses.client;

function addSecondLink(): void {
  const link = `link add two type veth peer name two netns ${pair.server}`;
  for (const command of [link, `address add ${second}/24 dev two`, "link set two up"])
    run("ip", "-n", pair.client, ...command.split(" "));
  for (const command of [`address add ${addresses.server[1]}/24 dev two`, "link set two up"])
    run("ip", "-n", pair.server, ...command.split(" "));
}

async function stillWorks({ client, server }: { client: Socket; server: Socket }): Promise<void> {
  const heard = once(server, "data");
  client.write("still there");
  expect(String((await heard)[0])).toBe("still there");
}

test("subflows from an interface that is removed meanwhile are refused in words, and nothing else is hurt", async () => {
  const ends = await pair.connect();
  const { connections } = await start(pair.client);
  const [connection] = connections;
  const refusals = new Set<string>();
  for (let round = 0; round < 5; round++) {
    const removal = spawn("ip", ["-n", pair.client, "link", "delete", "two"]);
    const isGone = once(removal, "exit").then(() => true);
    do {
      try {
        connection.createSubflow({ local: { address: second } });
      } catch (error) {
        if (!(error instanceof PathManagerError)) throw error;
        refusals.add(error.kind);
      }
    } while (!(await Promise.race([isGone, sleep(5)])));
    expect(() => connection.createSubflow({ local: { address: second } })).toThrow("none of this host");
    addSecondLink();
  }
  expect(["not-local", "unreachable"]).toEqual(expect.arrayContaining([...refusals]));
  await eventually(() => expect(known(connection)).toEqual(inKernel()));
  await stillWorks(ends);
});

test("fullmesh() gives up subflows whose interface goes while they are created, and has them when it is back", async () => {
  const ends = await pair.connect();
  const { connections } = await start(pair.client, fullmesh());
  const [connection] = connections;
  const used = () =>
    [...connection.subflows.map(({ local }) => local.address), ...connection.pending.map(({ local }) => local)].sort();
  const unanswered = ["blackhole", `${second}/32`];
  for (let round = 0; round < 8; round++) {
    await eventually(() => expect(used()).toEqual([first, second]));
    if (round % 4 < 2) run("ip", "-n", pair.client, "link", "delete", "two");
    else run("ip", "-n", pair.client, "address", "delete", `${second}/24`, "dev", "two");
    await eventually(() => {
      expect(used()).toEqual([first]);
      expect(inKernel()).toEqual(known(connection));
    });
    // In every other round nobody answers, so that the subflow is still on its way when the address goes.
    if (round % 2 === 0) run("ip", "-n", pair.server, "route", "add", ...unanswered);
    else run("ip", "-n", pair.server, "route", "delete", ...unanswered);
    if (round % 4 < 2) addSecondLink();
    else run("ip", "-n", pair.client, "address", "add", `${second}/24`, "dev", "two");
  }
  await eventually(() => expect(connection.subflows).toHaveLength(2));
  expect(known(connection)).toEqual(inKernel());
  await stillWorks(ends);
});

test("a peer that announces a thousand times takes 255 ids, and fullmesh() opens no more than it may", async () => {
  const ends = await pair.connect();
  let heard = 0;
  const hear = controller({ name: "hear", addressAnnounced: () => void heard++ });
  const run = await start(pair.client, hear, fullmesh({ mostSubflows: 5 }));
  const [connection] = run.connections;
  using peer = new PathManager({ netns: pair.server });
  const [{ token }] = listConnections(pair.server);
  const ofPeer = new Map(
    Array.from({ length: 255 }, (_, i) => [1 + i, i % 2 === 0 ? `10.100.0.${i}` : `fd00::${i.toString(16)}`]),
  );
  let most = 0;
  for (let i = 0; i < 1000; i++) {
    const id = 1 + (i % 255);
    // One after the other is taken back, and its id given to another address.
    if (i % 255 === 0 && i > 0) {
      peer.withdraw({ token, id });
      ofPeer.set(id, `10.100.1.${i % 254}`);
    }
    peer.announce({ token, id, address: ofPeer.get(id)! });
    if (i % 50 === 0) run.drain();
    most = Math.max(most, connection.subflows.length + connection.pending.length);
  }
  await eventually(() => {
    const missing = [...ofPeer].filter(([id, address]) => connection.announced.get(id)?.address !== address);
    // The kernel lets one fall while another is on its way.
    for (const [id, address] of missing) peer.announce({ token, id, address });
    expect(missing).toEqual([]);
    expect(known(connection)).toEqual(inKernel());
  });
  expect(connection.announced.size).toBe(255);
  expect(heard).toBeGreaterThan(500);
  expect(most).toBe(5);
  await stillWorks(ends);
});
