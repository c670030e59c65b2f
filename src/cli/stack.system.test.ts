import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { listInStack, openInStack } from "../instack/index.ts";
import { Connections, makeNetns } from "../instack/testing/connections.ts";
import { availableCongestionControls, deleteNetns, findBpffs, setDefaultCongestionControl } from "../linux/index.ts";
import { writeChurn } from "./testing/churn.ts";
import { built, emptcp, emptcpJson } from "./testing/run.ts";

const netns = `emptcp-stack-${process.pid}`;
const name = `ems_${process.pid}`;
let folder: string;
let open: Connections | undefined;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "emptcp-stack-"));
  makeNetns(netns);
});
afterEach(() => {
  open?.close();
  open = undefined;
  setDefaultCongestionControl("reno", netns);
  for (const running of listInStack()) if (running.name === name) running.remove();
});
afterAll(() => {
  deleteNetns(netns);
  rmSync(folder, { recursive: true });
});

/** Connections under what is registered as `name`. */
async function connect(count: number): Promise<Connections> {
  setDefaultCongestionControl(name, netns);
  open = await Connections.open(netns, count);
  return open;
}

function file(title: string, text: string): string {
  const path = join(folder, title);
  writeFileSync(path, text);
  return path;
}

const gentle = (most: number) => `import { base, congestionControl, min } from "emptcp/policy";
export const gentle = congestionControl({
  name: "gentle",
  congAvoid(socket, ack, acked) {
    base.congAvoid(socket, ack, acked);
    socket.cwnd = min(socket.cwnd, ${most});
  },
});
`;

describe("emptcp stack", () => {
  test("starts, lists, shows, replaces and stops congestion control of a file", async () => {
    const path = file("gentle.ts", gentle(50));
    expect(emptcpJson("stack", "start", path, "--name", name, "--base", "reno")).toMatchObject({
      name,
      policy: "gentle",
      file: path,
      base: "reno",
      operations: ["congAvoid"],
    });
    const connections = await connect(2);
    await connections.send(100_000);
    expect(emptcpJson("stack", "list")).toEqual(
      expect.arrayContaining([expect.objectContaining({ name, isRegistered: true, sockets: 5, connections: 4 })]),
    );
    const shown = emptcp(["stack", "show", name, "--rates", "0.1"]).stdout;
    expect(shown).toMatch(/gentle .*gentle\.ts.* on top of reno/);
    expect(shown).toMatch(/cong_avoid/);
    file("gentle.ts", gentle(60));
    expect(emptcpJson("stack", "replace", name)).toMatchObject({ base: "reno", generation: 2, moved: { sockets: 5 } });
    expect(emptcpJson("stack", "stop", name)).toMatchObject({ stopped: [{ name, moved: { sockets: 5, refused: 0 } }] });
    await connections.send(100_000);
    expect(connections.congestionControls()).toEqual({ reno: 4 });
  });

  test("shows metrics of what follows strategies, and does what they say", async () => {
    emptcpJson("stack", "start", "--name", name, "--base", "reno");
    const connections = await connect(2);
    await connections.send(300_000);
    const metrics = emptcpJson("stack", "metrics", name) as { token: number; cwnd: number; strategy: string }[];
    expect(metrics).toHaveLength(2);
    for (const one of metrics) expect(one).toMatchObject({ id: 1, strategy: "none", local: { address: "127.0.0.1" } });
    const token = metrics[0].token.toString(16);
    expect(emptcp(["stack", "strategy", "set", token, "window", "20kB"]).status).toBe(0);
    await connections.send(300_000);
    expect(emptcp(["stack", "metrics", name]).stdout).toMatch(new RegExp(`${token} .* window`));
    const watched = emptcpJson("watch", "--netns", netns, "--interval", "0.1") as {
      connections: { token: number; subflows: { measured?: { strategy: string } }[] }[];
    };
    const subflows = watched.connections.find((one) => one.token === metrics[0].token)!.subflows;
    expect(subflows).toMatchObject([{ measured: { strategy: "window" } }]);
    expect(emptcpJson("stack", "strategy", "list")).toEqual(
      expect.arrayContaining([
        { target: { token: metrics[0].token }, strategy: { kind: "window", windowBytes: 20_000 } },
      ]),
    );
    expect(emptcpJson("stack", "strategy", "remove", token)).toMatchObject({
      removed: [{ token: metrics[0].token }],
      missing: [],
    });
  });

  test.each([
    [["start", "/no/such.ts"], 1, /no such file/],
    [["start", "--name", "much_too_long_for_it"], 1, /at most 15/],
    [["start", "--name", "reno"], 1, /kernel or another program has congestion control of that name/],
    [["start", "--base", "vegas"], 2, /cubic, reno, bbr/],
    [["show", "no_such"], 1, /Cannot find no_such/],
    [["stop"], 2, /give names, or --all/],
    [["strategy", "set", "zz", "rate", "1mbit"], 2, /for example 1a2b3c4d/],
    [["strategy", "set", "1a2b3c4d", "rate", "fast"], 2, /a rate, for example 20mbit/],
    [["strategy", "set", "10.0.0.1,10.0.0.2:80", "weight", "3"], 2, /for example 1a2b3c4d/],
  ])("%j fails with %d", (args, status, message) => {
    const answer = emptcp(["stack", ...args]);
    expect(answer.stderr).toMatch(message);
    expect(answer.status).toBe(status);
  });

  test("start refuses a file without congestion control, and says how to write some", () => {
    const path = file("nothing.ts", "export const one = 1;");
    expect(emptcp(["stack", "start", path]).stderr).toMatch(/exports no congestion control.*congestionControl\(/);
  });

  test("strategy set refuses nonsense, and says what makes sense", () => {
    emptcpJson("stack", "start", "--name", name);
    const refusals = [
      ["rate 0", /rateBytesPerSecond must be an integer from 1/],
      ["window 0", /windowBytes must be an integer from 1/],
      ["weight 3", /single subflows only/],
      ["coupled magic", /there are lia, olia, balia, wvegas/],
    ] as const;
    for (const [words, message] of refusals)
      expect(emptcp(["stack", "strategy", "set", "1a2b3c4d", ...words.split(" ")]).stderr).toMatch(message);
  });
});

test("replacements by several processes at once come into force one after the other", async () => {
  const path = file("many.ts", gentle(50));
  emptcpJson("stack", "start", path, "--name", name, "--base", "reno");
  const connections = await connect(5);
  const all = [1, 2, 3].map(() => spawn(process.execPath, [built, "stack", "replace", name], { stdio: "ignore" }));
  const ends = Promise.all(all.map(async (child) => (await once(child, "exit")) as [code: number | null]));
  await connections.send(100_000);
  expect((await ends).map(([code]) => code)).toEqual([0, 0, 0]);
  const running = openInStack(name);
  expect(running.description.generation).toBe(4);
  expect(running.isRegistered()).toBe(true);
  await connections.send(100_000);
  expect(connections.congestionControls()).toEqual({ [name]: 10 });
});

describe("emptcp clean", () => {
  test("takes out what was to go with a process that is gone", async () => {
    const script = file(
      "trial.mjs",
      `import { loadInStackFile, registerInStack } from ${JSON.stringify(join(dirname(built), "../index.js"))};
const policy = await loadInStackFile(${JSON.stringify(file("trial.ts", gentle(50)))});
registerInStack(policy, { name: ${JSON.stringify(name)}, stays: false });
console.log("registered");
process.stdin.resume();
`,
    );
    const child = spawn(process.execPath, [script], { stdio: ["pipe", "pipe", "inherit"] });
    await once(child.stdout, "data");
    expect(emptcp(["clean"]).stdout).not.toContain(name);
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(emptcp(["clean", "--dry-run"]).stdout).toContain(`congestion control ${name}, whose process is gone`);
    expect(emptcpJson("clean")).toMatchObject({ removed: true, actors: [name] });
    expect(availableCongestionControls()).not.toContain(name);
  });

  test("says and removes strategies of connections that are gone, and only those", async () => {
    emptcpJson("stack", "start", "--name", name);
    const connections = await connect(1);
    await connections.send(50_000);
    const [{ token }] = emptcpJson("stack", "metrics", name) as { token: number }[];
    const gone = 0x1a2b3c4d;
    for (const one of [token, gone]) emptcp(["stack", "strategy", "set", one.toString(16), "window", "100kB"]);
    const dry = emptcp(["clean", "--dry-run"]).stdout;
    expect(dry).toContain("Would remove");
    const { strategies } = emptcpJson("clean") as { strategies: object[] };
    expect(strategies).toContainEqual({ token: gone });
    expect(strategies).not.toContainEqual({ token });
    expect(emptcpJson("stack", "strategy", "list")).toEqual(
      expect.arrayContaining([expect.objectContaining({ target: { token } })]),
    );
  });

  test("leaves nothing half registered behind a process that was killed, and connections go on", async () => {
    const script = writeChurn(folder);
    for (let round = 0; round < 3; round++) {
      const child = spawn(process.execPath, [script, name], { stdio: ["ignore", "pipe", "inherit"] });
      const exited = once(child, "exit");
      await once(child.stdout, "data");
      // It may be gone again by now: then these connections have another one.
      try {
        setDefaultCongestionControl(name, netns);
      } catch {
        setDefaultCongestionControl("reno", netns);
      }
      open ??= await Connections.open(netns, 20);
      const sending = open.send(100_000);
      await sleep(Math.random() * 150);
      child.kill("SIGKILL");
      await exited;
      await sending;
      emptcpJson("clean");
      expect(leftOf(child.pid!)).toEqual([]);
      const kept = listInStack().find((one) => one.name === name);
      // What was whole stays as it was, and can be used on.
      if (kept) {
        expect(kept.isRegistered()).toBe(true);
        expect(openInStack(name).operations().length).toBeGreaterThan(0);
        kept.remove();
      }
      await open.send(100_000);
    }
  });
});

/** What a process has left in the folder in which things are made. */
function leftOf(pid: number): string[] {
  const making = `${findBpffs()!}/emptcp/making`;
  return existsSync(making) ? readdirSync(making).filter((entry) => entry.startsWith(`${pid}-`)) : [];
}
