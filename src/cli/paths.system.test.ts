import { spawn, type ChildProcess } from "node:child_process";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { listConnections, watchPathManager, type MptcpEvent } from "../linux/index.ts";
import { addresses, HostPair, run } from "../linux/testing/host-pair.ts";
import { built, emptcp, emptcpJson } from "./testing/run.ts";

const name = `emptcp-paths-${process.pid}`;
const children: ChildProcess[] = [];
let pair: HostPair;

beforeEach(async () => {
  pair = await HostPair.open({ name, client: "userspace" });
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  pair.close();
});

const paths = (...args: string[]) => emptcp(["paths", ...args, "--netns", pair.client]);
const pathsJson = (...args: string[]) => emptcpJson("paths", ...args, "--netns", pair.client);
const tokenOf = (): string => listConnections(pair.client)[0].token.toString(16).padStart(8, "0");
const done = (stdout: unknown) => ({ status: 0, stdout, stderr: "" });

test("emptcp paths subflow add, backup and remove change a connection; emptcp paths connections shows it", async () => {
  await pair.connect();
  const token = tokenOf();
  const [from] = addresses.client.slice(1);
  const to = `${addresses.server[0]}:${pair.port}`;
  expect(paths("subflow", "add", token, from)).toEqual(
    done(expect.stringMatching(new RegExp(`^${from}:\\d+ > ${to}: established, ids 1/0\n$`))),
  );
  expect(
    pathsJson(
      "subflow",
      "add",
      token,
      `${from}:7000,${addresses.server[1]}:${pair.port}`,
      "--backup",
      "--interface",
      "two",
    ),
  ).toMatchObject({
    kind: "subflow_established",
    local: { address: from, port: 7000 },
    localId: 2,
  });
  expect(paths("subflow", "backup", token, `${from},${to}`)).toEqual(done(expect.stringMatching(/: backup\n$/)));
  expect(paths("subflow", "backup", token, ":7000", "off")).toEqual(done(expect.stringMatching(/: normal\n$/)));
  const [connection] = pathsJson("connections", token) as { subflows: { backup: boolean; tcp: { rtoUs: number } }[] }[];
  expect(connection.subflows.map(({ backup }) => backup)).toEqual([false, true, false]);
  expect(connection.subflows.every(({ tcp }) => tcp.rtoUs > 0)).toBe(true);
  const { stdout } = paths("connections");
  expect(stdout).toMatch(/CONNECTION, SUBFLOWS .* RTO .* PACING/);
  expect(stdout).toMatch(new RegExp(`${token} +as client +established[\\s\\S]*${from}:7000 > .* normal`));
  expect(paths("subflow", "remove", token, ":7000")).toEqual(done(expect.stringMatching(/: removed\n$/)));
  expect(pathsJson("connections")).toMatchObject([{ subflows: [{}, {}] }]);
});

/** The exit code of a command that says this. */
function failed(message: RegExp, ...args: string[]): number | null {
  const { status, stderr } = paths("subflow", ...args);
  expect(stderr).toMatch(message);
  return status;
}

test("emptcp paths subflow says what is wrong and what to do", async () => {
  await pair.connect();
  const token = tokenOf();
  expect(failed(/no connection 00000001; emptcp paths connections/, "add", "1", addresses.client[1])).toBe(1);
  expect(failed(/10\.77\.0\.1 .*: the local address is none of this host/, "add", token, "10.77.0.1")).toBe(1);
  expect(
    failed(/was not established: ECONNREFUSED/, "add", token, `${addresses.client[1]},${addresses.server[1]}:9`),
  ).toBe(1);
  run("ip", "-n", pair.server, "mptcp", "limits", "set", "subflows", "0");
  expect(failed(/may have reached its limit of subflows/, "add", token, addresses.client[1])).toBe(1);
  expect(failed(/There is no interface none/, "add", token, addresses.client[1], "--interface", "none")).toBe(1);
  expect(failed(/No subflow .* is :9: there are 10\.9\.0\.1/, "remove", token, ":9")).toBe(1);
  expect(failed(/give its token/, "remove", "wifi", ":9")).toBe(2);
  expect(failed(/Give a number from 0 to 255/, "add", token, addresses.client[1], "--id", "256")).toBe(2);

  const server = listConnections(pair.server)[0].token.toString(16);
  const { stderr } = emptcp(["paths", "subflow", "remove", server, ":1", "--netns", pair.server]);
  expect(stderr).toContain("No subflow");
  const refused = emptcp(["paths", "subflow", "backup", server, addresses.client[0], "--netns", pair.server]);
  expect(refused.stderr).toMatch(
    /kernel's own path manager is in charge.*Set sysctl net\.mptcp\.path_manager=userspace/,
  );
});

test("emptcp paths announce and withdraw tell the peer of an address, by the id that it has in the connection", async () => {
  const { client } = await pair.connect();
  const token = tokenOf();
  const heard: string[] = [];
  const event = ({ kind, remote, remoteId }: MptcpEvent) =>
    void heard.push(
      [kind, ...(remote && kind === "announced" ? [remote.address, remote.port] : []), remoteId].join(" "),
    );
  using peer = watchPathManager({ event }, { netns: pair.server });
  const [first, second] = addresses.client;
  expect(paths("announce", token, second)).toEqual(done(`${second}: announced, id 1\n`));
  expect(paths("announce", token, second, "--port", "5555")).toEqual(done(`${second}:5555: announced, id 2\n`));
  expect(pathsJson("announce", token, first)).toEqual({ token: parseInt(token, 16), address: first, id: 3 });
  expect(paths("announce", token, "10.77.0.1", "--id", "9")).toMatchObject({
    status: 0,
    stderr: expect.stringContaining("none of this host's addresses") as unknown,
  });
  expect(paths("withdraw", token, second)).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/has several ids .*give one: 1 \(10\.9\.1\.1\), 2 \(10\.9\.1\.1:5555\)/) as unknown,
  });
  expect(paths("withdraw", token, "10.77.0.1")).toEqual(done("10.77.0.1: withdrawn, id 9\n"));
  expect(paths("withdraw", token, "2")).toEqual(done("2: withdrawn\n"));
  peer.drain();
  expect(heard.filter((line) => /^(announced|removed)/.test(line))).toEqual([
    `announced ${second} ${client.localPort} 1`,
    `announced ${second} 5555 2`,
    `announced ${first} ${client.localPort} 3`,
    `announced 10.77.0.1 ${client.localPort} 9`,
    "removed 9",
    "removed 2",
  ]);
  expect(paths("withdraw", token, "10.77.0.1").stderr).toContain(
    "does not use address 10.77.0.1; it knows 1 (10.9.1.1)",
  );
});

test("emptcp paths endpoints adds, lists, changes and removes; limits are shown and set", () => {
  const flags = () => pathsJson("endpoints", "list");
  const added = paths("endpoints", "add", addresses.client[1], "subflow");
  expect(added).toMatchObject({ status: 0, stderr: expect.stringContaining("New connections do not use") as unknown });
  expect(added.stdout).toMatch(/ID +ADDRESS +PORT +FLAGS\n +1 +10\.9\.1\.1 +subflow\n/);
  expect(pathsJson("endpoints", "flags", addresses.client[1], "backup")).toEqual([
    { id: 1, address: addresses.client[1], flags: ["subflow", "backup"] },
  ]);
  expect(paths("endpoints", "add", addresses.client[0], "signal", "--port", "6000", "--id", "9")).toMatchObject({
    status: 0,
  });
  expect(paths("endpoints", "remove", "1").stderr).toBe("");
  expect(flags()).toEqual([{ id: 9, address: addresses.client[0], port: 6000, flags: ["signal"] }]);
  expect(paths("endpoints", "remove", "1").stderr).toContain("There is no endpoint 1; there are 9 (10.9.0.1)");
  expect(paths("endpoints", "remove", "--all")).toMatchObject({ status: 0, stdout: "No endpoint\n" });
  expect(paths("endpoints", "limits", "--subflows", "3")).toEqual(done("subflows 3, accepted addresses 8\n"));
  expect(paths("endpoints", "limits", "--subflows", "200")).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/above what the kernel takes.*maximum/) as unknown,
  });
});

test("emptcp paths events tells of connections, subflows and addresses", async () => {
  const child = spawn(process.execPath, [built, "paths", "events", "--netns", pair.client, "--json"]);
  children.push(child);
  let output = "";
  child.stdout.on("data", (data: Buffer) => (output += data.toString()));
  const told = () =>
    output
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line) as { event: string; source: string });
  let there = false;
  await vi.waitFor(
    () => {
      // It listens from some moment on.
      there = !there;
      run("ip", "-n", pair.client, "address", there ? "add" : "delete", "10.9.1.9/24", "dev", "two");
      expect(told()).not.toEqual([]);
    },
    { timeout: 20_000, interval: 300 },
  );
  expect(told()[0]).toMatchObject({ source: "address", address: "10.9.1.9", interface: "two" });
  expect(["address_added", "address_removed"]).toContain(told()[0].event);
  const { client } = await pair.connect();
  client.destroy();
  await vi.waitFor(
    () => {
      expect(
        told()
          .filter(({ source }) => source === "mptcp")
          .map(({ event }) => event),
      ).toEqual(["created", "established", "closed"]);
    },
    { timeout: 10_000 },
  );
});

test("without privileges nothing is changed, and it is said what is missing", async () => {
  await pair.connect();
  const user = ["setpriv", "--reuid", "65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"];
  const denied = emptcp(["paths", "endpoints", "add", "10.9.9.9", "subflow"], user);
  expect(denied).toMatchObject({ status: 1, stderr: expect.stringContaining("it needs CAP_NET_ADMIN") as unknown });
  expect(emptcp(["paths", "events"], user).stderr).toContain("CAP_NET_ADMIN");
  expect(emptcp(["paths", "connections"], user).stderr).toContain("Run as root");
  expect(emptcp(["paths", "announce", tokenOf(), "10.9.9.9"], user).stderr).toContain("run as root");
});
