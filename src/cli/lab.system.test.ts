import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { listChains } from "../chain/index.ts";
import { listNetns } from "../linux/index.ts";
import { built, emptcp, emptcpJson } from "./testing/run.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "emptcp-lab-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

function file(title: string, text: string): string {
  const path = join(folder, title);
  writeFileSync(path, text);
  return path;
}

interface Kept {
  readonly runId: string;
  readonly hosts: readonly { readonly name: string; readonly netns: string }[];
}

/** A lab that a process of its own keeps. */
async function keepLab() {
  const child = spawn(process.execPath, [built, "lab", "run", "--json"], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  for await (const chunk of child.stdout) {
    text += String(chunk);
    if (text.endsWith("}\n")) break;
  }
  const { runId, hosts } = JSON.parse(text) as Kept;
  const left = () => listNetns().filter((namespace) => namespace.includes(runId));
  const end = async (signal: NodeJS.Signals) => {
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
  };
  return { hosts, left, end };
}

const chain = `
import { ActorChain, PolicyChain, SelectorChain } from "emptcp";
export default new PolicyChain(new SelectorChain(), new ActorChain().add("record"));
`;

describe("emptcp lab run", () => {
  test("runs a command on a host, tells it the namespaces, and removes the lab", () => {
    const inside = emptcp(["lab", "run", "--in", "client", "--", "sh", "-c", "ip -o -4 addr; echo $EMPTCP_SERVER"]);
    expect(inside.stdout).toMatch(/wifi.*10\.0\.1\.1/);
    expect(inside.status).toBe(0);
    const [, runId] = /^emptcp-(\w+)-server$/m.exec(inside.stdout)!;
    expect(listNetns().filter((namespace) => namespace.includes(runId))).toEqual([]);
  });

  test("fails when the command fails", () => {
    expect(emptcp(["lab", "run", "--", "false"]).status).toBe(1);
    expect(emptcp(["lab", "run", "--", "/no/such/command"])).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/^emptcp: Cannot run \/no\/such\/command/),
    });
  });

  test.each([
    ["json", (spec: string) => spec],
    ["ts", (spec: string) => `import type { LabSpec } from "emptcp/lab";\nexport default ${spec} satisfies LabSpec;`],
  ])("builds what a .%s file describes", (kind, wrap) => {
    const spec = `{ "hosts": { "a": {}, "b": {} }, "links": [{ "name": "dsl", "between": ["a", "b"], "rateMbit": 16 }] }`;
    const path = file(`spec.${kind}`, wrap(spec));
    expect(emptcp(["lab", "run", path, "--in", "b", "--", "ip", "-o", "link"]).stdout).toContain("dsl");
  });

  test.each([
    ["that is no JSON", "broken.json", "{", /broken\.json/],
    ["without links", "empty.json", "{}", /links/],
    [
      "with a link to nowhere",
      "odd.json",
      '{"hosts":{"a":{}},"links":[{"name":"x","between":["a","b"]}]}',
      /no host b/,
    ],
  ])("refuses a spec %s, and leaves nothing", (_, title, text, message) => {
    const before = listNetns();
    const { status, stderr } = emptcp(["lab", "run", file(title, text)]);
    expect(stderr).toMatch(message);
    expect(status).toBe(1);
    expect(listNetns().filter((namespace) => !before.includes(namespace))).toEqual([]);
  });

  test("leaves nothing after Ctrl-C", async () => {
    const { left, end } = await keepLab();
    expect(left()).toHaveLength(3);
    await end("SIGINT");
    expect(left()).toEqual([]);
  });
});

describe("emptcp lab clean", () => {
  test("removes a killed run's namespaces and the chains in them, and no others", async () => {
    const killed = await keepLab();
    const running = await keepLab();
    const name = `lab-clean-${process.pid}`;
    const client = killed.hosts.find((host) => host.name === "client")!.netns;
    const path = file("record.ts", chain);
    expect(emptcp(["chain", "apply", path, "--netns", client, "-i", "wifi", "--name", name]).status).toBe(0);
    await killed.end("SIGKILL");
    expect(killed.left()).toHaveLength(3);

    const { chains } = emptcpJson("lab", "clean") as { chains: string[] };
    expect(chains).toContain(name);
    expect(killed.left()).toEqual([]);
    expect(running.left()).toHaveLength(3);
    expect(listChains().map((one) => one.name)).not.toContain(name);
    expect(existsSync(`/run/netns/${client}`)).toBe(false);
    await running.end("SIGTERM");
    expect(running.left()).toEqual([]);
  });
});
