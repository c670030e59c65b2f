import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { listChains, openChain, type ChainCounters } from "../chain/index.ts";
import { createNetns, deleteNetns, queryTcx, withNetns } from "../linux/index.ts";
import { built, emptcp, emptcpJson } from "./testing/run.ts";

const netns = `emptcp-cli-${process.pid}`;
const name = `cli-${process.pid}`;
const place = ["--netns", netns, "-i", "near", "--name", name];
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "emptcp-cli-"));
  createNetns(netns);
  const make = "link add near type veth peer name far";
  const { status, stderr } = withNetns(netns, () => spawnSync("ip", make.split(" "), { encoding: "utf8" }));
  if (status !== 0) throw new Error(`ip ${make}: ${stderr}`);
});
afterEach(() => {
  if (listed().includes(name)) openChain(name).remove();
});
afterAll(() => {
  deleteNetns(netns);
  rmSync(folder, { recursive: true });
});

const listed = () => listChains().map((chain) => chain.name);

const attached = () =>
  withNetns(netns, () =>
    (["ingress", "egress"] as const).flatMap((direction) => queryTcx({ interface: "near", direction })),
  );

/** A file in a folder from which the package cannot be resolved. */
function file(title: string, text: string): string {
  const path = join(folder, title);
  writeFileSync(path, text);
  return path;
}

const chainOf = (actors: string, before = "") => `
import { ActorChain, PolicyChain, SelectorChain, type ChainOptions } from "emptcp";
${before}
const options: ChainOptions = { direction: "both" };
export default new PolicyChain(new SelectorChain().select("dst", { prefix: "10.0.0.0/8" }), ${actors}, options);
`;
const limit = 'new ActorChain().add("rate_limit", { rate: "10mbit" }).add("record")';

describe("emptcp chain", () => {
  test("applies, lists, shows, sets and removes a chain through separate processes", () => {
    const path = file("limit.ts", chainOf(limit));
    const { status, stdout } = emptcp(["chain", "apply", path, ...place]);
    expect({ status, stdout }).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/tc ingress and egress of near/),
    });
    expect(emptcpJson("chain", "list")).toContainEqual(expect.objectContaining({ name, matched: 0 }));
    expect(emptcp(["chain", "list"]).stdout).toMatch(new RegExp(`${name}.*dst\\(prefix=10.0.0.0/8\\)`));

    expect(emptcp(["chain", "set", name, "rate_limit.rate=5mbit"]).status).toBe(0);
    const shown = emptcpJson("chain", "show", name) as { actors: { params: object }[]; counters: ChainCounters };
    expect(shown.actors[0].params).toEqual({ rate: "5mbit" });
    expect(shown.counters.actors.map((actor) => actor.name)).toEqual(["rate_limit", "record"]);
    expect(emptcp(["chain", "show", name]).stdout).toMatch(/rate_limit.*rate=5mbit/);

    expect(emptcpJson("chain", "remove", name)).toEqual({ removed: [name] });
    expect(listed()).not.toContain(name);
    expect(attached()).toEqual([]);
  });

  test("compiles policies of the user's own, and files that they import", () => {
    file("shift.ts", "export const shift: number = 1;\n");
    const own = `
      import { actor } from "emptcp/policy";
      import { shift } from "./shift.ts";
      interface Unused { readonly x: number }
      const halve = actor({ name: "halve", run({ tcp }) { tcp.window = tcp.window >> 1; } });
      void (shift satisfies Unused["x"]);`;
    const path = file("own.ts", chainOf("new ActorChain().add(halve)", own));
    expect(emptcp(["chain", "apply", path, ...place])).toMatchObject({ status: 0, stderr: "" });
    const { stdout } = emptcp(["chain", "apply", path, "--listing"]);
    expect(stdout).toContain("tcp.window = tcp.window >> 1");
  });

  test("runs the README's example, which is the file in examples/", () => {
    const example = fileURLToPath(new URL("../../examples/quiet-start.ts", import.meta.url));
    const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
    expect(readme).toContain(readFileSync(example, "utf8").trim());
    const { status, stderr } = emptcp(["chain", "apply", example, ...place]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    emptcpJson("chain", "set", name, "quiet_start.shift=2");
    expect(openChain(name).params()).toEqual([{ shift: "2" }]);
  });

  test("refuses to attach a chain twice, and the first one stays", () => {
    const path = file("limit.ts", chainOf(limit));
    emptcp(["chain", "apply", path, ...place]);
    const { status, stderr } = emptcp(["chain", "apply", path, ...place]);
    expect(stderr).toMatch(/attached already.*emptcp chain remove/);
    expect(status).toBe(1);
    expect(attached()).toHaveLength(2);
  });

  test("changes nothing when one of several values is out of range", () => {
    emptcp(["chain", "apply", file("limit.ts", chainOf(limit)), ...place]);
    const { status, stderr } = emptcp(["chain", "set", name, "1.rate=5mbit", "rate_limit.rate=64gbit"]);
    expect({ status, stderr }).toMatchObject({ status: 1, stderr: expect.stringContaining("a rate from 8 kbit/s") });
    expect(openChain(name).params()[0]).toEqual({ rate: "10mbit" });
  });

  test("removes nothing when one of several names is wrong", () => {
    emptcp(["chain", "apply", file("limit.ts", chainOf(limit)), ...place]);
    expect(emptcp(["chain", "remove", name, "no-such-chain"])).toMatchObject({ status: 1, stdout: "" });
    expect(listed()).toContain(name);
  });
});

const policy = (body: string) => `
import { actor } from "emptcp/policy";
const mine = actor({ name: "mine", run(packet) {
  ${body}
} });`;

describe("emptcp chain apply leaves the kernel as it was", () => {
  const mine = "new ActorChain().add(mine)";

  test.each([
    ["a file that is not there", undefined, /no such file/],
    ["a syntax error", "export default new (;", /bad\.ts:1:21: /],
    ["an import that does not exist", 'import "./nowhere.ts";', /nowhere\.ts/],
    ["no default export", "export const chain = 1;", /no default export/],
    ["a default export that is no chain", "export default { actors: [] };", /no PolicyChain but Object/],
    [
      "a parameter out of range",
      chainOf('new ActorChain().add("rate_limit", { rate: "99gbit" })'),
      /bad\.ts:5:\d+: .*rate_limit\.rate/,
    ],
    ["an unknown actor", chainOf('new ActorChain().add("rate_limt")'), /"rate_limt".*built-in ones are/],
    ["a type error in a policy", chainOf(mine, policy("packet.tcp.windw = 1;")), /bad\.ts:6:\d+ - EM\d+/],
    ["a policy that loops for ever", chainOf(mine, policy("while (true) {}")), /bad\.ts:6:\d+ - EM\d+/],
  ])("%s", (_, text, message) => {
    const path = text === undefined ? join(folder, "nowhere.ts") : file("bad.ts", text);
    const { status, stdout, stderr } = emptcp(["chain", "apply", path, ...place]);
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^emptcp: Cannot/);
    expect({ status, stdout, attached: attached(), there: listed().includes(name) }).toEqual({
      status: 1,
      stdout: "",
      attached: [],
      there: false,
    });
  });

  test("an interface that does not exist", () => {
    const path = file("limit.ts", chainOf(limit));
    const { status, stderr } = emptcp(["chain", "apply", path, ...place, "-i", "eth77"]);
    expect(stderr).toMatch(/no interface eth77.*near/);
    expect({ status, attached: attached(), there: listed().includes(name) }).toEqual({
      status: 1,
      attached: [],
      there: false,
    });
  });

  test("a user without the capability", () => {
    const path = file("limit.ts", chainOf(limit));
    const powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    const { status, stderr } = emptcp(["chain", "apply", path, "-i", "lo", "--name", name], powerless);
    expect(stderr).toMatch(/needs CAP_BPF.*root/);
    expect({ status, there: listed().includes(name) }).toEqual({ status: 1, there: false });
  });

  test("a process killed at any moment leaves a whole chain or none", async () => {
    const path = file("limit.ts", chainOf(limit));
    const started = performance.now();
    emptcp(["chain", "apply", path, ...place]);
    const tookMs = performance.now() - started;
    openChain(name).remove();
    // The first half is spent on loading; the kernel is touched in the second.
    for (let delayMs = tookMs / 2; delayMs <= 1.1 * tookMs; delayMs += tookMs / 5) {
      const child = spawn(process.execPath, [built, "chain", "apply", path, ...place], { stdio: "ignore" });
      await sleep(delayMs);
      child.kill("SIGKILL");
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
      const whole = listed().includes(name);
      expect(attached()).toHaveLength(whole ? 2 : 0);
      if (whole) openChain(name).remove();
    }
  });
});
