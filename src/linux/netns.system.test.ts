import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import type { Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { dumpTcpSockets } from "./diag.ts";
import { createNetns, deleteNetns, listNetns, netnsInode, withNetns } from "./netns.ts";
import { connectMptcp, listenMptcp } from "./sockets.ts";

const name = `emptcp-test-${process.pid}`;

beforeEach(() => {
  createNetns(name);
  withNetns(name, () => spawnSync("ip", ["link", "set", "lo", "up"]));
});
afterEach(() => deleteNetns(name));

describe("withNetns()", () => {
  test("runs inside and returns home, also from an exception and from a nested window", () => {
    const home = netnsInode();
    expect(withNetns(name, () => netnsInode())).toBe(netnsInode(name));
    expect(() =>
      withNetns(name, () => {
        throw new Error("inside");
      }),
    ).toThrow("inside");
    const other = `${name}-other`;
    createNetns(other);
    try {
      withNetns(name, () => {
        expect(withNetns(other, () => netnsInode())).toBe(netnsInode(other));
        expect(netnsInode()).toBe(netnsInode(name));
      });
    } finally {
      deleteNetns(other);
    }
    expect(netnsInode()).toBe(home);
    expect(home).not.toBe(netnsInode(name));
  });

  test("refuses what would go on after the window, and a namespace that is not there", () => {
    const home = netnsInode();
    expect(() => withNetns(name, async () => await Promise.resolve())).toThrow(TypeError);
    expect(() => withNetns(`${name}-absent`, () => 1)).toThrow(/no such namespace/);
    expect(netnsInode()).toBe(home);
  });

  test("reads and writes the namespace's own settings", () => {
    const file = "/proc/sys/net/ipv4/ip_default_ttl";
    const home = readFileSync(file, "utf8");
    withNetns(name, () => writeFileSync(file, "77"));
    expect(withNetns(name, () => readFileSync(file, "utf8"))).toBe("77\n");
    expect(readFileSync(file, "utf8")).toBe(home);
  });
});

describe("createNetns()", () => {
  test("refuses a name that is taken, and leaves it as it is", () => {
    const inode = netnsInode(name);
    expect(() => createNetns(name)).toThrow(/taken/);
    expect(netnsInode(name)).toBe(inode);
  });

  test("refuses names that would leave the directory", () => {
    expect(() => createNetns("../escape")).toThrow(RangeError);
  });

  test("deleteNetns() removes it, twice if need be", () => {
    deleteNetns(name);
    deleteNetns(name);
    expect(listNetns()).not.toContain(name);
  });
});

describe("connectMptcp()", () => {
  test("fails with the kernel's reason when nobody listens", async () => {
    await expect(connectMptcp({ address: "127.0.0.1", port: 9, netns: name })).rejects.toMatchObject({
      code: "ECONNREFUSED",
    });
  });

  test.each(["127.0.0.1", "::1"])("makes a connection inside the namespace: %s", async (address) => {
    const server = await listenMptcp({ address: "::", port: 0, netns: name, congestionControl: "cubic" });
    const { port } = server.address() as { port: number };
    server.on("connection", (socket) => socket.pipe(socket));
    const socket = await connectMptcp({ address, port, netns: name, congestionControl: "cubic" });
    try {
      socket.write("echo");
      const answer = await new Promise<Buffer>((resolve) => socket.once("data", resolve));
      expect(answer.toString()).toBe("echo");
      const subflow = dumpTcpSockets(name).find((one) => one.mptcp !== undefined && one.remote.port === port);
      expect(subflow).toMatchObject({ state: "established", remote: { address, port } });
      expect(subflow?.mptcp?.tokenLocal).toBeGreaterThan(0);
      expect(subflow?.congestionControl).toBe("cubic");
      expect(dumpTcpSockets().some((one) => one.remote.port === port)).toBe(false);
    } finally {
      socket.destroy();
      server.close();
    }
  });

  test("binds to a local address", async () => {
    const server = await listenMptcp({ address: "0.0.0.0", port: 0, netns: name });
    const { port } = server.address() as { port: number };
    const accepted = new Promise<Socket>((resolve) => server.once("connection", resolve));
    const socket = await connectMptcp({ address: "127.0.0.1", port, localAddress: "127.0.0.5", netns: name });
    expect((await accepted).remoteAddress).toBe("127.0.0.5");
    (await accepted).destroy();
    socket.destroy();
    server.close();
  });

  test("refuses a congestion control that does not exist", async () => {
    await expect(
      connectMptcp({ address: "127.0.0.1", port: 9, netns: name, congestionControl: "nonesuch" }),
    ).rejects.toThrow(/nonesuch/);
  });
});
