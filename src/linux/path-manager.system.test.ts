import { writeFileSync } from "node:fs";
import { afterEach, describe, expect, test, vi } from "vitest";
import { ConnectionReader, listConnections, type ConnectionState } from "./connections.ts";
import { CommandSocket, NoSuchFamilyError } from "./generic-netlink.ts";
import { watchPathManager, type MptcpEvent } from "./mptcp-events.ts";
import { withNetns } from "./netns.ts";
import { activePathManager, pathManagerCommands, PathManager, PathManagerError } from "./path-manager.ts";
import type { SocketAddress } from "./sockaddr.ts";
import { addresses, addresses6, HostPair } from "./testing/host-pair.ts";

const name = `emptcp-pm-${process.pid}`;
const disposables: Disposable[] = [];
let pair: HostPair;

afterEach(() => {
  for (const one of disposables.splice(0)) one[Symbol.dispose]();
  pair.close();
});

const keep = <T extends Disposable>(one: T): T => {
  disposables.push(one);
  return one;
};

async function open(
  client: "kernel" | "userspace",
  server: "kernel" | "userspace" = "kernel",
  listen: "0.0.0.0" | "::" = "0.0.0.0",
): Promise<PathManager> {
  pair = await HostPair.open({ name, client, server, listen });
  return keep(new PathManager({ netns: pair.client }));
}

function record(netns: string): MptcpEvent[] {
  const events: MptcpEvent[] = [];
  keep(watchPathManager({ event: (event) => events.push(event) }, { netns }));
  return events;
}

const connection = (netns: string): ConnectionState => {
  const [one, ...others] = listConnections(netns);
  expect(others).toEqual([]);
  return one;
};

const refused = (work: () => void): PathManagerError => {
  try {
    work();
  } catch (error) {
    if (error instanceof PathManagerError) return error;
    throw error;
  }
  throw new Error("it was not refused");
};

describe("PathManager, where user space manages paths", () => {
  test("createSubflow() makes subflows that the events and the list of connections tell of; destroySubflow() ends them", async () => {
    const manager = await open("userspace");
    const events = record(pair.client);
    await pair.connect();
    const { token } = connection(pair.client);
    const remote = { address: addresses.server[1], port: pair.port };
    manager.createSubflow({ token, local: { address: addresses.client[1], id: 1 }, remote, backup: true });
    // Another one from where the first came, and one from a port of its own, which takes an id of its own.
    manager.createSubflow({
      token,
      local: { address: addresses.client[0], id: 0 },
      remote: { ...remote, address: addresses.server[0] },
    });
    manager.createSubflow({ token, local: { address: addresses.client[1], id: 2, port: 4444 }, remote });
    await vi.waitFor(() => {
      expect(events.filter(({ kind }) => kind === "subflow_established")).toHaveLength(3);
    });
    const { subflows, serverSide, info } = connection(pair.client);
    expect(serverSide).toBe(false);
    expect(info.subflowsTotal).toBe(4);
    expect(subflows.map(({ localId, first, opened, state }) => ({ localId, first, opened, state }))).toEqual(
      [
        { localId: 0, first: true, opened: true, state: "established" },
        { localId: 0, first: false, opened: true, state: "established" },
        { localId: 1, first: false, opened: true, state: "established" },
        { localId: 2, first: false, opened: true, state: "established" },
      ].map((one) => expect.objectContaining(one) as unknown),
    );
    expect(subflows[2]).toMatchObject({ backup: true, local: { address: addresses.client[1] }, remote });
    expect(subflows[3]).toMatchObject({ backup: false, local: { address: addresses.client[1], port: 4444 } });
    for (const { tcp } of subflows) {
      expect(tcp!.rtoUs).toBeGreaterThan(0);
      expect(tcp!.sndCwnd).toBeGreaterThan(0);
      expect(tcp!.pacingRateBytesPerSecond).toBeGreaterThan(0);
    }
    expect(connection(pair.server)).toMatchObject({ serverSide: true });

    const { local } = subflows[2];
    manager.destroySubflow({ token, local, remote });
    await vi.waitFor(() => {
      expect(events.at(-1)).toMatchObject({ kind: "subflow_closed", token, local, remote });
    });
    expect(connection(pair.client).subflows).toHaveLength(3);
  });

  test("setBackup() changes the priority of one subflow on both sides", async () => {
    const manager = await open("userspace");
    const heard = record(pair.server);
    await pair.connect();
    const { token, subflows } = connection(pair.client);
    const [{ local, remote }] = subflows;
    const backups = (netns: string) => connection(netns).subflows.map(({ backup }) => backup);
    manager.setBackup({ token, local, remote, backup: true });
    await vi.waitFor(() => {
      expect(heard).toContainEqual(expect.objectContaining({ kind: "subflow_priority", backup: true }));
    });
    expect([backups(pair.client), backups(pair.server)]).toEqual([[true], [true]]);
    manager.setBackup({ token, local, remote, backup: false });
    await vi.waitFor(() => {
      expect(backups(pair.server)).toEqual([false]);
    });
  });

  test("announce() and withdraw() tell the peer of an address and take it back; addressesOf() lists what is known", async () => {
    // The peer is managed from user space, too: the kernel would open a subflow to the address by itself.
    const manager = await open("userspace", "userspace");
    const heard = record(pair.server);
    await pair.connect();
    const { token } = connection(pair.client);
    manager.announce({ token, address: addresses.client[1], id: 7, port: 5555 });
    await vi.waitFor(() => {
      expect(heard).toContainEqual(
        expect.objectContaining({
          kind: "announced",
          remoteId: 7,
          remote: { address: addresses.client[1], port: 5555 },
        }),
      );
    });
    expect(manager.addressesOf(token)).toEqual([
      { id: 7, address: addresses.client[1], port: 5555, flags: ["signal"] },
    ]);
    manager.withdraw({ token, id: 7 });
    await vi.waitFor(() => {
      expect(heard).toContainEqual(expect.objectContaining({ kind: "removed", remoteId: 7 }));
    });
    expect(manager.addressesOf(token)).toEqual([]);
  });

  test("runAll() does what it can of a hundred commands, and says which failed and why", async () => {
    const manager = await open("userspace");
    await pair.connect();
    const { token } = connection(pair.client);
    const all = Array.from({ length: 100 }, (_, i) => pathManagerCommands.withdraw({ token, id: 100 + i }));
    all[50] = pathManagerCommands.announce({ token, address: addresses.client[1], id: 9 });
    all[99] = pathManagerCommands.withdraw({ token, id: 9 });
    all[10] = pathManagerCommands.withdraw({ token: 1, id: 9 });
    const kinds = manager.runAll(all).map((error) => error?.kind);
    expect([kinds[50], kinds[99], kinds[10]]).toEqual([undefined, undefined, "closed"]);
    expect(kinds.filter((kind) => kind === "not-found")).toHaveLength(97);
  });

  test("what cannot be done is refused with the reason and what to do", async () => {
    const manager = await open("userspace");
    await pair.connect();
    const { token, subflows } = connection(pair.client);
    const remote = { address: addresses.server[1], port: pair.port };
    const create = (
      local: { address: string; id: number; port?: number; interfaceIndex?: number },
      to: SocketAddress = remote,
    ) => refused(() => manager.createSubflow({ token, local, remote: to }));
    expect(create({ address: "10.9.7.7", id: 1 })).toMatchObject({
      kind: "not-local",
      message: expect.stringContaining("from 10.9.7.7 to 10.9.1.2") as unknown,
    });
    expect(create({ address: addresses.client[1], id: 1, interfaceIndex: 4000 })).toMatchObject({ kind: "not-local" });
    expect(create({ address: addresses.client[1], id: 1 }, { address: "192.0.2.1", port: 1 })).toMatchObject({
      kind: "unreachable",
    });
    manager.createSubflow({ token, local: { address: addresses.client[1], id: 1 }, remote });
    expect(create({ address: addresses.client[1], id: 2 })).toMatchObject({ kind: "in-use" });
    expect(create({ address: "2001:db8::1", id: 3 }, { address: "2001:db8::2", port: 80 })).toMatchObject({
      kind: "unreachable",
      message: expect.stringContaining("an IPv4 socket takes no IPv6 subflows") as unknown,
    });
    const gone = refused(() =>
      manager.createSubflow({ token: 1, local: { address: addresses.client[1], id: 1 }, remote }),
    );
    expect(gone).toMatchObject({ kind: "closed", kernelMessage: "invalid token" });
    expect(gone.message).toContain("connection 00000001");
    const [{ local }] = subflows;
    const missing = { token, local: { ...local, port: 9 }, remote };
    expect(refused(() => manager.destroySubflow(missing))).toMatchObject({ kind: "not-found", code: "ESRCH" });
    expect(refused(() => manager.setBackup({ ...missing, backup: true }))).toMatchObject({ kind: "not-found" });
    expect(() => manager.createSubflow({ token, local: { address: "$(reboot)", id: 1 }, remote })).toThrow(RangeError);
    expect(() => manager.announce({ token, address: addresses.client[1], id: 0 })).toThrow(RangeError);
    expect(() => manager.createSubflow({ token, local: { address: local.address, id: 256 }, remote })).toThrow(
      RangeError,
    );
  });
});

describe("PathManager and the peer", () => {
  test("a peer that has reached its limit takes a subflow and closes it at once, which the events tell", async () => {
    const manager = await open("userspace");
    using server = new PathManager({ netns: pair.server });
    server.setLimits({ subflows: 0 });
    const events = record(pair.client);
    await pair.connect();
    const { token, remote } = connection(pair.client);
    events.splice(0);
    manager.createSubflow({ token, local: { address: addresses.client[1], id: 1 }, remote });
    await vi.waitFor(() => {
      expect(events.map(({ kind }) => kind)).toEqual(["subflow_established", "subflow_closed"]);
    });
  });

  test("a server that listens for IPv6 and IPv4 changes and removes subflows of both", async () => {
    await open("userspace", "userspace", "::");
    record(pair.server);
    using server = new PathManager({ netns: pair.server });
    using reader = new ConnectionReader({ netns: pair.server });
    for (const all of [addresses, addresses6]) {
      const [[, second], remote] = [all.client, { address: all.server[1], port: pair.port }];
      const { client } = await pair.connect(all.server[0]);
      const [{ token }] = listConnections(pair.client);
      using manager = new PathManager({ netns: pair.client });
      manager.createSubflow({ token, local: { address: second, id: 1 }, remote });
      await vi.waitFor(() => {
        expect(reader.all()).toMatchObject([{ subflows: [{}, { remote: { address: second }, state: "established" }] }]);
      }, 5000);
      const [{ token: theirs, subflows }] = reader.all();
      const { local: ours, remote: peer } = subflows[1];
      expect(reader.subflow(ours, peer)).toMatchObject({ local: ours, remote: peer });
      server.setBackup({ token: theirs, local: ours, remote: peer, backup: true });
      expect(reader.subflow(ours, peer)).toMatchObject({ backup: true });
      server.destroySubflow({ token: theirs, local: ours, remote: peer });
      await vi.waitFor(() => {
        expect(reader.all()[0].subflows).toHaveLength(1);
      });
      expect(refused(() => server.destroySubflow({ token: theirs, local: ours, remote: peer }))).toMatchObject({
        kind: "not-found",
      });
      client.destroy();
      await vi.waitFor(() => {
        expect(listConnections(pair.client)).toEqual([]);
      });
    }
  });
});

describe("PathManager, where the kernel manages paths", () => {
  test("commands for single connections are refused with the sysctl, also for those that began before it was set", async () => {
    const manager = await open("kernel");
    await pair.connect();
    const { token } = connection(pair.client);
    const local = { address: addresses.client[1], id: 1 };
    const attempt = () =>
      refused(() => manager.createSubflow({ token, local, remote: { address: addresses.server[1], port: pair.port } }));
    expect(attempt()).toMatchObject({
      kind: "kernel",
      missing: "net.mptcp.path_manager=userspace",
      remedy: "Set sysctl net.mptcp.path_manager=userspace before the connection is opened",
    });
    expect(activePathManager(pair.client)).toBe("kernel");
    withNetns(pair.client, () => writeFileSync("/proc/sys/net/mptcp/path_manager", "userspace"));
    expect(activePathManager(pair.client)).toBe("userspace");
    expect(attempt().message).toContain("open it anew");
  });

  test("endpoints are added, listed, changed and removed; limits are set as far as the kernel allows", async () => {
    const manager = await open("kernel");
    manager.addEndpoint({ address: addresses.client[1], flags: ["subflow"] });
    manager.addEndpoint({ address: "2001:db8::9", id: 40, flags: ["signal", "backup"] });
    manager.addEndpoint({ address: addresses.client[0], id: 41, port: 6000, flags: ["signal"] });
    expect(manager.endpoints()).toEqual([
      { id: 1, address: addresses.client[1], flags: ["subflow"] },
      { id: 40, address: "2001:db8::9", flags: ["signal", "backup"] },
      { id: 41, address: addresses.client[0], port: 6000, flags: ["signal"] },
    ]);
    manager.setFlags(1, ["backup"]);
    expect(manager.endpoints()[0]).toMatchObject({ id: 1, flags: ["subflow", "backup"] });
    expect(refused(() => manager.addEndpoint({ address: addresses.client[1], flags: ["subflow"] }))).toMatchObject({
      kind: "in-use",
    });
    expect(refused(() => manager.removeEndpoint(77))).toMatchObject({ kind: "not-found" });
    manager.removeEndpoint(40);
    manager.setLimits({ subflows: 3 });
    expect(manager.limits()).toEqual({ subflows: 3, acceptedAddresses: 8 });
    expect(refused(() => manager.setLimits({ subflows: 1000 }))).toMatchObject({
      kind: "limit",
      message: expect.stringContaining("maximum") as unknown,
    });
    manager.flushEndpoints();
    expect(manager.endpoints()).toEqual([]);
    const add = () => {
      for (let i = 1; i < 300; i++) manager.addEndpoint({ address: `10.77.${i >> 8}.${i & 255}`, flags: ["subflow"] });
    };
    expect(refused(add)).toMatchObject({ kind: "limit" });
  });

  test("an endpoint becomes a subflow of a connection that is open already", async () => {
    const manager = await open("kernel");
    await pair.connect();
    manager.addEndpoint({ address: addresses.client[1], flags: ["subflow"] });
    await vi.waitFor(() => {
      expect(connection(pair.client).subflows.map(({ local }) => local.address)).toEqual([...addresses.client]);
    });
    manager.removeEndpoint(1);
    await vi.waitFor(() => {
      expect(connection(pair.client).subflows).toHaveLength(1);
    });
  });
});

test("CommandSocket tells commands, attributes and families that this kernel does not have", async () => {
  await open("kernel");
  const family = {
    name: "mptcp_pm",
    needs: "MPTCP",
    commands: {
      getLimits: { id: 6, attributes: { subflows: [3, "u32"], later: [60, "u32"] }, since: "5.7" },
      later: { id: 99, attributes: {}, since: "99.0" },
    },
  } as const;
  const socket = keep(new CommandSocket(family, pair.client));
  expect([socket.has("getLimits"), socket.has("later")]).toEqual([true, false]);
  expect([socket.accepts("getLimits", "subflows"), socket.accepts("getLimits", "later")]).toEqual([true, false]);
  expect(() => new CommandSocket({ ...family, name: "mptcp_none" })).toThrow(NoSuchFamilyError);
});

test("watchPathManager() says once that events were lost, after those that were not, and goes on", async () => {
  await open("kernel");
  const items: string[] = [];
  const reader = keep(
    watchPathManager(
      { event: ({ kind }) => items.push(kind), lost: () => items.push("lost") },
      { netns: pair.client, receiveBufferBytes: 4096 },
    ),
  );
  reader.drain();
  const many = keep(new PathManager({ netns: pair.client }));
  for (let round = 0; round < 2; round++) {
    items.splice(0);
    // A listener comes and goes with its endpoint; nothing is read meanwhile.
    for (let i = 0; i < 20; i++) {
      many.addEndpoint({ address: addresses.client[0], id: 9, port: 6001, flags: ["signal"] });
      many.removeEndpoint(9);
    }
    reader.drain();
    expect(items.filter((item) => item === "lost")).toHaveLength(1);
    expect(items.at(-1)).toBe("lost");
    expect(items.length).toBeLessThan(40);
  }
  items.splice(0);
  many.addEndpoint({ address: addresses.client[0], id: 9, port: 6001, flags: ["signal"] });
  reader.drain();
  expect(items).toEqual(["listener_created"]);
});

test("ConnectionReader tells how far one connection and one subflow have come", async () => {
  await open("userspace");
  const { client, server } = await pair.connect();
  const reader = keep(new ConnectionReader({ netns: pair.client }));
  const [{ token, subflows, info }] = reader.all();
  server.resume();
  client.write(Buffer.alloc(100_000));
  await vi.waitFor(() => {
    expect(reader.info(token)!.bytesAcked - info.bytesAcked).toBe(100_000);
  });
  expect(reader.info(token)!.sndUna - info.sndUna).toBe(100_000n);
  const [{ local, remote }] = subflows;
  expect(reader.subflow(local, remote)).toMatchObject({ local, remote, first: true, state: "established" });
  expect(reader.subflow(local, remote)!.tcp!.bytesAcked).toBeGreaterThan(100_000);
  expect(reader.info(token ^ 1)).toBeUndefined();
  expect(reader.subflow({ ...local, port: 1 }, remote)).toBeUndefined();
});
