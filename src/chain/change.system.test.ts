import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, unlinkSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import {
  createMap,
  createNetns,
  deleteNetns,
  ensureBpffs,
  openLink,
  openMap,
  queryTcx,
  withNetns,
} from "../linux/index.ts";
import {
  ActorChain,
  listChains,
  openChain,
  ParameterError,
  PolicyChain,
  SelectorChain,
  type ChainOptions,
  type RunningChain,
} from "./index.ts";
import { tally, unable } from "./testing/own-policies.ts";
import { converse } from "./testing/converse.ts";

const netns = `emptcp-change-${process.pid}`;
const prefix = `change-${process.pid}-`;

function ip(command: string): void {
  const { status, stderr } = withNetns(netns, () => spawnSync("ip", command.split(" "), { encoding: "utf8" }));
  if (status !== 0) throw new Error(`ip ${command}: ${stderr}`);
}

beforeAll(() => {
  createNetns(netns);
  ip("link set lo up");
  ip("link add near type veth peer name far");
});
afterEach(() => {
  for (const chain of listChains()) if (chain.name.startsWith(prefix)) chain.remove();
});
afterAll(() => deleteNetns(netns));

const actors = () => new ActorChain().add("rate_limit", { rate: "10mbit" }).add(tally, { step: 1 });

function makeChain(title: string, composed = actors(), options: ChainOptions = {}, selectors = new SelectorChain()) {
  return new PolicyChain(selectors, composed, { name: prefix + title, netns, interfaces: ["lo"], ...options });
}

/** The ids of the links on both hooks of an interface. */
const linksOn = (name: string) =>
  withNetns(netns, () =>
    (["ingress", "egress"] as const).flatMap((direction) =>
      queryTcx({ interface: name, direction }).map(({ linkId }) => linkId),
    ),
  );

/** What this run left half made. */
function halfMade(): string[] {
  const path = `${ensureBpffs()}/emptcp/making`;
  return existsSync(path) ? readdirSync(path).filter((name) => name.includes(prefix)) : [];
}

describe("RunningChain.edit()", () => {
  test("keeps links, counters, state and parameters of what stays", async () => {
    const running = makeChain("stays").submit();
    const links = linksOn("lo");
    await converse(netns, 10_000);
    running.set("rate_limit", { rate: "5mbit" });
    const before = running.counters();
    const { packets } = running.shared("tally", "all");
    expect(packets).toBeGreaterThan(0);
    await running.edit(({ actors: chain }) => chain.insert(1, unable).move("tally", 2));
    expect(running.description.actors.map(({ name }) => name)).toEqual(["unable", "tally", "rate_limit"]);
    expect(running.params()).toEqual([{}, { step: "1" }, { rate: "5mbit" }]);
    expect(running.shared("tally", "all")).toEqual({ packets });
    const after = openChain(running.name).counters();
    expect(after.seen).toBe(before.seen);
    expect(after.actors[1]).toEqual(before.actors[1]);
    expect(after.actors[2]).toEqual(before.actors[0]);
    expect(after.actors[0]).toEqual({ name: "unable", seen: 0, acted: 0, cannot: { never_can: 0 } });
    expect(linksOn("lo")).toEqual(links);
    expect(halfMade()).toEqual([]);

    await converse(netns, 10_000);
    const { actors: rows, seen } = running.counters();
    expect(rows[0].seen).toBe(seen - before.seen);
    expect(rows[0].cannot).toEqual({ never_can: rows[0].seen });
    expect(rows[1].acted).toBe(running.shared("tally", "all")["packets"]);
  });

  test("leaves disabled actors and selectors out until they are enabled", async () => {
    const selectors = new SelectorChain().select("dst", { prefix: "192.0.2.1" });
    const running = makeChain("off", actors(), {}, selectors).submit();
    await converse(netns, 1000);
    expect(running.shared("tally", "all")).toEqual({ packets: 0 });
    await running.edit(({ selectors: chain }) => chain.disable(1));
    await converse(netns, 1000);
    expect(running.shared("tally", "all")["packets"]).toBeGreaterThan(0);
    await running.edit(({ actors: chain }) => chain.disable("tally"));
    const { packets } = running.shared("tally", "all");
    const { acted } = running.counters().actors[1];
    await converse(netns, 1000);
    expect(running.shared("tally", "all")).toEqual({ packets });
    expect(running.counters().actors[1].acted).toBe(acted);
    await running.edit(({ actors: chain }) => chain.enable("tally"));
    await converse(netns, 1000);
    expect(running.shared("tally", "all")["packets"]).toBeGreaterThan(packets);
  });

  test("changes nothing when a change is not possible", async () => {
    const running = makeChain("refused").submit();
    await expect(running.edit(({ actors: chain }) => chain.remove("recrd"))).rejects.toThrow(ParameterError);
    await expect(running.edit(({ actors: chain }) => chain.remove(1).remove(1))).rejects.toThrow(/has no actor/);
    const elsewhere = makeChain("refused", actors(), { interfaces: ["lo", "eth77"] });
    await expect(running.replace(elsewhere)).rejects.toThrow(/no interface eth77/);
    expect(running.description.generation).toBe(1);
    expect(halfMade()).toEqual([]);
  });
});

describe("RunningChain.replace()", () => {
  test("attaches to new hooks, leaves old ones, and keeps parameters only where both chains were given the same", async () => {
    const running = makeChain("moves").submit();
    const before = linksOn("lo");
    running.set("rate_limit", { rate: "5mbit" });
    await running.replace(makeChain("ignored", actors(), { interfaces: ["lo", "near"] }));
    expect(running.params()[0]).toEqual({ rate: "5mbit" });
    expect(linksOn("near")).toHaveLength(2);
    expect(linksOn("lo")).toEqual(before);
    const other = new ActorChain().add("rate_limit", { rate: "7mbit" });
    await running.replace(makeChain("ignored", other, { interfaces: ["near"] }));
    expect(running.params()).toEqual([{ rate: "7mbit" }]);
    expect(linksOn("lo")).toEqual([]);
    running.remove();
    expect(linksOn("near")).toEqual([]);
  });
});

const linkOf = (chain: RunningChain) => {
  using opened = openLink(`${ensureBpffs()}/emptcp/chains/${chain.name}/link_tcx_ingress_1`);
  return opened.info().id;
};
const one = () => new ActorChain().add("record");

/** Lets the chain say something else of itself. */
function rewrite(name: string, change: (description: Record<string, unknown>) => object): void {
  const path = `${ensureBpffs()}/emptcp/chains/${name}/about`;
  using before = openMap(path);
  const text = new TextDecoder().decode(before.lookup(new Uint8Array(4))).replace(/\0+$/, "");
  const value = new TextEncoder().encode(JSON.stringify(change(JSON.parse(text) as Record<string, unknown>)));
  unlinkSync(path);
  using after = createMap({ name: "about", type: "array", keySize: 4, valueSize: value.length, maxEntries: 1 });
  after.update(new Uint8Array(4), value);
  after.pin(path);
}

describe("priority", () => {
  test("orders the chains of a hook: lower ones first, then those submitted first", async () => {
    const at = (title: string, priority?: number) =>
      makeChain(title, one(), { direction: "ingress", ...(priority !== undefined && { priority }) }).submit();
    const [usual, last, first, second] = [at("usual"), at("last", 10), at("first", -5), at("second")];
    const order = [first, usual, second, last];
    expect(linksOn("lo")).toEqual(order.map(linkOf));
    expect(listChains().flatMap(({ name }) => (name.startsWith(prefix) ? [name] : []))).toEqual(
      order.map(({ name }) => name),
    );
    const moved = makeChain("last", one(), { direction: "ingress", priority: -10 });
    await expect(last.replace(moved)).rejects.toThrow(/priority -10 instead of 10/);
    expect(() => makeChain("wrong", one(), { priority: 0.5 })).toThrow(/an integer from -32768/);
  });
});

describe("a chain of another version", () => {
  test.each([
    ["an earlier one", 1, /did not note where its policies come from/],
    ["a later one", 99, /another version of emptcp attached it \(its description has version 99/],
  ])("%s is listed and removed, but not changed", async (_, version, reason) => {
    const { name } = makeChain(`version${version}`).submit();
    rewrite(name, (description) => (version === 1 ? { ...description, version } : { version }));
    const running = listChains().find((chain) => chain.name === name)!;
    expect(running.counters().seen).toBe(0);
    expect(running.attachments()).toHaveLength(2);
    await expect(running.edit(({ actors: chain }) => chain.remove(1))).rejects.toThrow(reason);
    await expect(running.replace(makeChain("any"))).rejects.toThrow(reason);
    running.remove();
    expect(linksOn("lo")).toEqual([]);
  });
});
