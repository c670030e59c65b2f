import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import {
  addrAdv,
  backup,
  controller,
  fullmesh,
  ndiffports,
  prefer,
  refresh,
  runControllers,
  serverLimit,
  sspi,
  streaming,
  type Controller,
  type ControllerFailure,
  type ControllerRun,
} from "../paths/index.ts";
import { connectHosts, createLab, startTransfer, type HostSpec, type Lab, type Transfer } from "./index.ts";
import { readLinkCounters, samplePaths } from "./measure/counters.ts";

// What each controller that comes with the package is for, on transfers.

let lab: Lab | undefined;
const runs: ControllerRun[] = [];
const failures: ControllerFailure[] = [];

afterEach(async () => {
  for (const run of runs.splice(0)) run.close();
  await lab?.close();
  lab = undefined;
  expect(failures.splice(0)).toEqual([]);
});

const userspace: HostSpec = { sysctls: { "net.mptcp.path_manager": "userspace" } };
const addresses = { one: "10.0.1.1", two: "10.0.2.1", server: "10.0.3.2" };

function inHost(host: string, command: string): void {
  const args = ["netns", "exec", lab!.host(host).netns, ...command.split(" ")];
  const { status, stderr } = spawnSync("ip", args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command}: ${stderr}`);
}

const routeByTwo = "ip route replace 10.0.3.0/24 via 10.0.2.2 metric 2";

/** A client with two links to a router, behind which the server is; unless told, all goes by the first. */
async function makeLab(server: HostSpec = {}): Promise<void> {
  const link = { rateMbit: 20, rttMs: 10 };
  lab = await createLab({
    hosts: {
      client: userspace,
      router: { forwards: true },
      server: { ...server, routes: { "10.0.1.0/24": "lan", "10.0.2.0/24": "lan" } },
    },
    links: [
      { name: "one", between: ["client", "router"], ...link },
      { name: "two", between: ["client", "router"], ...link },
      { name: "lan", between: ["router", "server"], rateMbit: 100, rttMs: 2 },
    ],
  });
  inHost("client", "ip route add 10.0.3.0/24 via 10.0.1.2 metric 1");
  inHost("client", routeByTwo);
}

const transfer = async (): Promise<Transfer> =>
  await startTransfer(lab!, { address: addresses.server, direction: "upload" });

async function start(host: string, ...controllers: Controller[]): Promise<ControllerRun> {
  const run = await runControllers(controllers, {
    netns: lab!.host(host).netns,
    failed: (failure) => failures.push(failure),
  });
  runs.push(run);
  return run;
}

const eventually = async (check: () => void, timeout = 15_000) => {
  await vi.waitFor(check, { timeout, interval: 50 });
};
/** The client's addresses in use by the only connection. */
const used = ({ connections: [connection] }: ControllerRun) =>
  connection.subflows.map(({ local }) => local.address).sort();

async function finish(running: Transfer): Promise<void> {
  const { ok, receivedBytes } = await running.stop();
  expect(ok).toBe(true);
  expect(receivedBytes).toBeGreaterThan(0);
}

describe("fullmesh()", () => {
  test("opens a subflow from each address, again after a reset, and again when the address is back", async () => {
    await makeLab();
    const closed: (string | undefined)[] = [];
    const watcher = controller({ name: "watcher", subflowClosed: ({ error }) => void closed.push(error) });
    const run = await start("client", watcher, fullmesh({ resetMs: 300 }));
    const running = await transfer();
    await eventually(() => expect(used(run)).toEqual([addresses.one, addresses.two]));

    // The router forgets the flow, as middleboxes do.
    const reset = "FORWARD -i two -p tcp -j REJECT --reject-with tcp-reset";
    inHost("router", `iptables -A ${reset}`);
    await eventually(() => expect(closed.filter((error) => error === "ECONNREFUSED").length).toBeGreaterThan(0));
    expect(closed[0]).toBe("ECONNRESET");
    expect(used(run)).toEqual([addresses.one]);
    inHost("router", `iptables -D ${reset}`);
    await eventually(() => expect(used(run)).toEqual([addresses.one, addresses.two]));

    inHost("client", `ip address delete ${addresses.two}/24 dev two`);
    await eventually(() => expect(used(run)).toEqual([addresses.one]));
    inHost("client", `ip address add ${addresses.two}/24 dev two`);
    inHost("client", routeByTwo);
    await eventually(() => expect(used(run)).toEqual([addresses.one, addresses.two]));
    await finish(running);
  });
});

describe("backup()", () => {
  test("sends nothing over the backup until a timer passes the threshold; then the transfer goes on there alone", async () => {
    await makeLab();
    const run = await start("client", backup({ interface: "two", thresholdMs: 700 }));
    const running = await transfer();
    await eventually(() => expect(running.receivedBytes).toBeGreaterThan(1_000_000));
    expect(used(run)).toEqual([addresses.one]);
    expect(readLinkCounters(lab!)["two"].forward.sent.bytes).toBeLessThan(1000);
    await lab!.setLink("one", { lossPercent: 30 });
    const before = running.receivedBytes;
    // Two retransmissions in a row have to be lost, which is soon as a rule.
    await eventually(() => expect(used(run)).toEqual([addresses.two]), 30_000);
    await eventually(() => expect(running.receivedBytes - before).toBeGreaterThan(1_000_000));
    await finish(running);
  });
});

describe("serverLimit()", () => {
  test("leaves each address of a client one subflow, and the transfer goes on", async () => {
    await makeLab(userspace);
    const server = await start("server", serverLimit());
    const client = await start("client", ndiffports({ subflows: 3 }), fullmesh());
    let attempts = 0;
    runs.push(
      await runControllers([controller({ name: "count", subflowEstablished: () => void attempts++ })], {
        netns: lab!.host("server").netns,
      }),
    );
    const running = await transfer();
    await eventually(() => expect(attempts).toBeGreaterThanOrEqual(3));
    for (const run of [client, server])
      await eventually(() =>
        expect(
          run.connections[0].subflows.map((one) => (run === client ? one.local : one.remote).address).sort(),
        ).toEqual([addresses.one, addresses.two]),
      );
    await finish(running);
  });
});

/** Both hosts behind routers that spread flows over two paths. */
async function spreadLab(): Promise<void> {
  const path = { between: ["near", "far"] as const, rateMbit: 8, rttMs: 20 };
  lab = await createLab({
    hosts: {
      client: { ...userspace, routes: { "10.0.4.0/24": "access" } },
      near: { forwards: true, routes: { "10.0.4.0/24": ["first", "second"] } },
      far: { forwards: true, routes: { "10.0.1.0/24": ["first", "second"] } },
      server: { routes: { "10.0.1.0/24": "lan" }, maxSubflows: 3 },
    },
    links: [
      { name: "access", between: ["client", "near"], rateMbit: 100, rttMs: 2 },
      { name: "first", ...path },
      { name: "second", ...path },
      { name: "lan", between: ["far", "server"], rateMbit: 100, rttMs: 2 },
    ],
  });
}

describe("refresh()", () => {
  test("replaces the slowest subflow until all paths are in use", async () => {
    await spreadLab();
    const run = await start("client", refresh({ subflows: 2, periodMs: 500 }));
    // Which it knows by what arrives, too.
    const running = await startTransfer(lab!, { address: "10.0.4.2", direction: "download" });
    const ports = new Set<number>();
    let both = 0;
    const stop = samplePaths(lab!, 500, ({ mbit }) => {
      for (const { local } of run.connections[0]?.subflows ?? []) ports.add(local.port);
      if (mbit["first"].backward > 5 && mbit["second"].backward > 5) both++;
    });
    try {
      // Two subflows share a path half of the time, unless something is done about it.
      await eventually(() => expect([both > 1, ports.size > 5]).toEqual([true, true]), 30_000);
    } finally {
      stop();
    }
    // Those that were replaced are backups until they are closed, as soon as the server takes no more.
    const counts = () => {
      const { subflows } = run.connections[0];
      return { inUse: subflows.filter(({ backup }) => !backup).length, all: subflows.length };
    };
    await eventually(() => {
      expect(counts().inUse).toBeLessThanOrEqual(2);
      expect(counts().all).toBeLessThanOrEqual(4);
    });
    await finish(running);
  });
});

describe("streaming()", () => {
  test("has one subflow while blocks arrive in time, another when they are late, and none that holds them up", async () => {
    await makeLab();
    const run = await start("client", streaming({ checkMs: 600 }));
    const { client, server } = await connectHosts(lab!, { address: addresses.server });
    let [sent, received] = [0, 0];
    server.on("data", (data: Buffer) => (received += data.length));
    const blocks = setInterval(() => {
      sent += 65_536;
      client.write(Buffer.alloc(65_536, "x"));
    }, 700);
    try {
      await eventually(() => expect(received).toBeGreaterThanOrEqual(2 * 65_536));
      expect(used(run)).toEqual([addresses.one]);
      await lab!.setLink("one", { lossPercent: 40 });
      await eventually(() => expect(used(run)).toEqual([addresses.two]));
      clearInterval(blocks);
      await eventually(() => expect(received).toBe(sent));
    } finally {
      clearInterval(blocks);
    }
  });
});

describe("addrAdv()", () => {
  test("makes the kernel's own path manager use the addresses there are", async () => {
    await makeLab();
    inHost("client", "sysctl -q net.mptcp.path_manager=kernel");
    const run = await start("client", addrAdv());
    const endpoints = () => run.pathManager.endpoints().map(({ address, flags }) => [address, ...flags].join(" "));
    expect(endpoints()).toEqual(run.addresses.map(({ address }) => `${address} subflow`));
    const running = await transfer();
    await eventually(() => expect(used(run)).toEqual([addresses.one, addresses.two]));
    inHost("client", `ip address delete ${addresses.two}/24 dev two`);
    await eventually(() => expect(used(run)).toEqual([addresses.one]));
    expect(endpoints()).not.toContain(`${addresses.two} subflow`);
    await finish(running);
  });
});

describe("sspi()", () => {
  test("leaves one subflow over each interface, from whatever addresses", async () => {
    await makeLab();
    inHost("client", "ip address add 10.0.1.9/24 dev one");
    inHost("router", "ip route add 10.0.1.9/32 dev one");
    const closed: string[] = [];
    const run = await start(
      "client",
      controller({ name: "closed", subflowClosed: ({ local }) => void closed.push(local.address) }),
      fullmesh(),
      sspi(),
    );
    const running = await transfer();
    await eventually(() => expect([...closed, ...used(run)]).toEqual(["10.0.1.9", addresses.one, addresses.two]));
    await finish(running);
  });
});

describe("prefer()", () => {
  test("keeps dear interfaces as backups, and gives up one whose quota is used, also by those that ran before", async () => {
    await makeLab();
    const interfaces = [{ name: "one", quotaBytes: 3_000_000 }, { name: "two" }];
    const usedFile = join(mkdtempSync(join(tmpdir(), "emptcp-prefer-")), "used.json");
    const startPrefer = () => start("client", prefer({ interfaces, usedFile, periodMs: 200 }));
    let run = await startPrefer();
    const running = await transfer();
    await eventually(() => expect(used(run)).toEqual([addresses.one, addresses.two]));
    const backups = () => run.connections[0].subflows.map((one) => one.info()?.backup);
    expect(backups()).toEqual([false, true]);
    await eventually(() => expect(running.receivedBytes).toBeGreaterThan(1_500_000));
    run.close();
    run = await startPrefer();
    await eventually(() => expect(used(run)).toEqual([addresses.two]));
    expect(backups()).toEqual([false]);
    const over = readLinkCounters(lab!)["one"].forward.sent.bytes;
    expect(over).toBeGreaterThan(2_900_000);
    // At 20 Mbit/s, some periods more, and what passed before it was started again.
    expect(over).toBeLessThan(9_000_000);
    const before = running.receivedBytes;
    await eventually(() => expect(running.receivedBytes - before).toBeGreaterThan(1_000_000));
    await finish(running);
    rmSync(dirname(usedFile), { recursive: true });
  });
});
