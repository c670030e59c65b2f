import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { listChains } from "../chain/index.ts";
import { createNetns, deleteNetns, withNetns } from "../linux/index.ts";
import { emptcp, emptcpJson } from "./testing/run.ts";

const netns = `emptcp-climembers-${process.pid}`;
const name = `cli-members-${process.pid}`;
let folder: string;

const source = `
import { ActorChain, MemberSet, PolicyChain, SelectorChain } from "emptcp";
import { rate } from "emptcp/policy";

const phones = new MemberSet("src", { name: "phones", params: { rate }, max: 100_000, members: [{ prefix: "10.20.0.1", rate: "5mbit" }] });
const limit = new ActorChain().add("rate_limit", { rate: phones.param("rate") });
export default new PolicyChain(new SelectorChain().select(phones), limit, { interfaces: ["lo"] });
`;

function file(title: string, text: string): string {
  const path = join(folder, title);
  writeFileSync(path, text);
  return path;
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "emptcp-climembers-"));
  createNetns(netns);
  withNetns(netns, () => spawnSync("ip", ["link", "set", "lo", "up"]));
  const { status, stderr } = emptcp(["chain", "apply", file("limit.ts", source), "--netns", netns, "--name", name]);
  if (status !== 0) throw new Error(stderr);
});
afterAll(() => {
  for (const chain of listChains()) if (chain.name === name) chain.remove();
  deleteNetns(netns);
  rmSync(folder, { recursive: true });
});

const members = (...args: string[]) => emptcp(["chain", "members", name, ...args]);
const list = () => emptcpJson("chain", "members", name);

test("emptcp chain members lists, adds, changes and removes members, one by one and from files", () => {
  expect(members().stdout).toBe("phones (src): 1 member of at most 100 000\nprefix     rate\n10.20.0.1  5mbit\n");
  expect(members("--add", "prefix=10.20.0.2,rate=7mbit").stdout).toMatch(
    /phones: added 1 member; 2 of at most 100 000/,
  );
  expect(members("phones", "--update", "prefix=10.20.0.1,rate=1mbit").status).toBe(0);
  expect(list()).toEqual(
    expect.arrayContaining([
      { prefix: "10.20.0.1", rate: "1mbit" },
      { prefix: "10.20.0.2", rate: "7mbit" },
    ]),
  );
  expect(members("--remove", "prefix=10.20.0.1", "--remove", "prefix=10.20.0.2").status).toBe(0);
  expect(list()).toEqual([]);

  expect(emptcpJson("chain", "show", name)).toMatchObject({
    sets: [{ name: "phones", selector: "src", members: 0, max: 100_000 }],
    actors: [{ params: { rate: "phones.rate" } }],
  });
  expect(emptcp(["chain", "show", name]).stdout).toMatch(
    /Packets: src\(in phones\);[^]*Set phones \(src\): 0 of at most 100 000/,
  );

  const hosts = Array.from({ length: 60_000 }, (_, i) => `10.${20 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`);
  const table = file("phones.csv", `prefix,rate\n${hosts.map((host) => `${host},5mbit\n`).join("")}`);
  expect(emptcpJson("chain", "members", name, "--from", table)).toEqual({ name, set: "phones", members: 60_000 });
  expect(members().stdout).toMatch(/… and 59 960 more; --json has all of them/);
  const objects = file("phones.json", JSON.stringify([{ prefix: "10.20.0.0/16", rate: "9mbit" }]));
  expect(members("--from", objects, "--replace").status).toBe(0);
  expect(list()).toEqual([{ prefix: "10.20.0.0/16", rate: "9mbit" }]);
});

test.each<[string, string[], RegExp, number]>([
  ["a wrong member", ["--add", "prefix=10.0.0.300,rate=5mbit"], /member 1 of the set phones \(prefix=10\.0\.0\.300/, 1],
  ["what is no member", ["--remove", "prefix=10.99.0.1"], /there is no such member; nothing was changed/, 1],
  ["another set", ["laptops"], /Cannot find the set laptops .*it has phones/, 1],
  ["two changes", ["--add", "prefix=10.0.0.1,rate=5mbit", "--remove", "prefix=10.0.0.2"], /several changes at once/, 2],
  ["--replace alone", ["--replace"], /--from FILE/, 2],
  ["a member without fields", ["--add", "10.0.0.1"], /FIELD=VALUE/, 2],
  ["a file that is not there", ["--from", "/nowhere/x.csv"], /ENOENT/, 2],
])("emptcp chain members refuses %s", (_, args, message, exitCode) => {
  const { status, stdout, stderr } = members(...args);
  expect(stderr).toMatch(message);
  expect({ status, stdout }).toEqual({ status: exitCode, stdout: "" });
});
