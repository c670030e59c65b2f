import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { PathManager, PathManagerError } from "../linux/index.ts";
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

const refusal = (work: () => unknown): unknown => {
  try {
    work();
    return undefined;
  } catch (error) {
    return (error as PathManagerError).kind;
  }
};

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

test("what was lost because there was too much at once is found, and told once", async () => {
  await pair.connect();
  const heard: string[] = [];
  const run = await runControllers(
    [
      controller({
        name: "heard",
        established: () => void heard.push("established"),
        subflowEstablished: ({ local }) => void heard.push(`subflow ${local.address}`),
      }),
    ],
    { netns: pair.client, receiveBufferBytes: 4096 },
  );
  runs.push(run);
  run.drain();
  using others = new PathManager({ netns: pair.client });
  // Listeners come and go with endpoints, and their events leave no room for that of the subflow.
  for (let i = 0; i < 20; i++) {
    others.addEndpoint({ address: addresses.client[1], id: 9, port: 6001, flags: ["signal"] });
    others.removeEndpoint(9);
  }
  const [{ token, remote }] = run.connections;
  others.createSubflow({ token, local: { address: addresses.client[1], id: 1 }, remote });
  await eventually(() => expect(heard).toEqual(["established", `subflow ${addresses.client[1]}`]));
  expect(run.connections[0].subflows).toHaveLength(2);
});

test("commands say why the kernel refuses, and do nothing to what has just ended", async () => {
  const { client } = await pair.connect();
  const run = await start();
  const [connection] = run.connections;
  expect(refusal(() => connection.createSubflow({ local: { address: "10.77.0.1" } }))).toBe("not-local");
  expect(() => connection.createSubflow({ local: { address: "; reboot" } })).toThrow(/not an IP address/);
  expect(connection.pending).toEqual([]);
  const server = await runControllers([], { netns: pair.server });
  runs.push(server);
  expect(() => server.connections[0].createSubflow()).toThrow(/net\.mptcp\.path_manager=userspace/);
  client.destroy();
  const [subflow] = connection.subflows;
  connection.createSubflow();
  connection.removeSubflow(subflow);
  expect(connection.subflows).toEqual([]);
  await eventually(() => expect(run.connections).toEqual([]));
});

test("controllers that take the place of others hear of what is there, and the others hear nothing more", async () => {
  await pair.connect();
  const heard: string[] = [];
  const hear = (name: string) =>
    controller({
      name,
      established(connection) {
        heard.push(name);
        connection.every(20, () => heard.push(`${name} rings`));
      },
      localAddressAdded: ({ address }) => void heard.push(`${name} ${address}`),
    });
  const run = await start(hear("old"));
  await eventually(() => expect(heard).toContain("old rings"));
  expect(heard.slice(0, 3)).toEqual([...addresses.client.map((address) => `old ${address}`), "old fd09::1"]);
  heard.length = 0;
  await run.replace([hear("new")]);
  await eventually(() => expect(heard).toContain("new rings"));
  expect(heard).toContain("new");
  expect(heard.filter((one) => one.startsWith("old"))).toEqual([]);
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

test("each event is told in its turn, with what it is about, and commands bring it about", async () => {
  pair.close();
  pair = await HostPair.open({ name, client: "userspace", server: "userspace" });
  const heard: string[] = [];
  const hear = (what: string, ...about: unknown[]) => void heard.push([what, ...about].join(" "));
  const client = await start(
    controller({
      name: "all",
      created: ({ serverSide }) => hear("created", serverSide),
      established: ({ remote }) => hear("established", remote.port === pair.port),
      closed: ({ closed }) => hear("closed", closed),
      subflowEstablished: ({ local, remote, open }) => hear("subflowEstablished", local.address, remote.address, open),
      subflowClosed: ({ local, error }) => hear("subflowClosed", local.address, error),
      subflowPriority: ({ local, backup }) => hear("subflowPriority", local.address, backup),
      addressAnnounced: ({ id, address, port }) => hear("addressAnnounced", id, address, port === pair.port),
      addressRemoved: (id, { announced }) => hear("addressRemoved", id, announced.size),
      localAddressAdded: ({ address, interface: name }) => hear("localAddressAdded", address, name),
      localAddressRemoved: ({ address }, { addresses: left }) => hear("localAddressRemoved", address, left.length),
      listenerCreated: ({ port }) => hear("listenerCreated", port),
      listenerClosed: ({ port }) => hear("listenerClosed", port),
    }),
  );
  const server = await runControllers([], { netns: pair.server });
  runs.push(server);
  const next = async (...expected: string[]) => {
    await eventually(() => expect(heard).toEqual(expected));
    heard.length = 0;
  };
  heard.length = 0;
  const sockets = await pair.connect();
  await next("created false", "established true");
  const [mine] = client.connections;
  const [theirs] = server.connections;

  const id = theirs.announce({ address: addresses.server[1] });
  await next(`addressAnnounced ${id} ${addresses.server[1]} true`);
  expect(
    mine.createSubflow({ local: { address: addresses.client[1], port: 7000 }, remote: mine.announced.get(id)! }),
  ).toBe(true);
  await next(`subflowEstablished ${addresses.client[1]} ${addresses.server[1]} true`);
  expect(mine.subflows[1]).toMatchObject({ local: { address: addresses.client[1], port: 7000 }, remoteId: id });
  await eventually(() => expect(theirs.subflows).toHaveLength(2));
  theirs.setBackup(theirs.subflows[1], true);
  await next(`subflowPriority ${addresses.client[1]} true`);
  expect(mine.subflows[1].info()).toMatchObject({ backup: true, tcp: { rtoUs: expect.any(Number) as number } });
  theirs.withdraw(id);
  await eventually(() => expect(heard).toHaveLength(2));
  await next(`addressRemoved ${id} 0`, `subflowClosed ${addresses.client[1]} `);

  run("ip", "-n", pair.client, "address", "add", "10.9.1.9/24", "dev", "two");
  await next("localAddressAdded 10.9.1.9 two");
  run("ip", "-n", pair.client, "address", "delete", "10.9.1.9/24", "dev", "two");
  await next("localAddressRemoved 10.9.1.9 4");
  client.pathManager.addEndpoint({ address: addresses.client[1], id: 9, port: 6001, flags: ["signal"] });
  client.pathManager.removeEndpoint(9);
  await next("listenerCreated 6001", "listenerClosed 6001");
  sockets.client.destroy();
  await next("closed true");
  expect(failures).toEqual([]);
});

test("an address can be taken back whose subflow was removed, which makes the kernel forget it", async () => {
  pair.close();
  pair = await HostPair.open({ name, client: "userspace", server: "userspace" });
  await pair.connect();
  const [client, server] = [await start(), await runControllers([], { netns: pair.server })];
  runs.push(server);
  const [mine, theirs] = [client.connections[0], server.connections[0]];
  const [, address] = addresses.client;
  const id = mine.announce({ address });
  await eventually(() => expect(theirs.announced.get(id)).toMatchObject({ address }));
  mine.createSubflow({ local: { address } });
  await eventually(() => expect(mine.subflows).toHaveLength(2));
  expect(mine.subflows[1].localId).toBe(id);
  mine.removeSubflow(mine.subflows[1]);
  mine.withdraw(id);
  await eventually(() => expect(theirs.announced.size).toBe(0));
  expect(refusal(() => mine.withdraw(id))).toBe("not-found");
});
