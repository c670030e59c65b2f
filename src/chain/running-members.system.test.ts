import { spawnSync } from "node:child_process";
import type { AddressInfo, Socket } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { connectMptcp, createNetns, deleteNetns, dumpTcpSockets, listenMptcp, withNetns } from "../linux/index.ts";
import { rate } from "../policy/index.ts";
import { ActorChain, listChains, MemberSet, openChain, PolicyChain, SelectorChain, SetFullError } from "./index.ts";

const netns = `emptcp-members-${process.pid}`;
const name = `members-${process.pid}`;

beforeAll(() => {
  createNetns(netns);
  const { status, stderr } = withNetns(netns, () => spawnSync("ip", ["link", "set", "lo", "up"], { encoding: "utf8" }));
  if (status !== 0) throw new Error(stderr);
});
afterEach(() => {
  for (const chain of listChains()) if (chain.name === name) chain.remove();
});
afterAll(() => deleteNetns(netns));

function limited(set: MemberSet): PolicyChain {
  const actors = new ActorChain().add("rate_limit", { rate: set.param("rate" as never), per: "connection" });
  return new PolicyChain(new SelectorChain().select(set), actors, { name, netns, interfaces: ["lo"] });
}
const submit = (set: MemberSet) => limited(set).submit();

const member = (host: number, mbit = 5) => ({ prefix: `10.0.0.${host}`, rate: `${mbit}mbit` });
const phones = (max = 4) =>
  new MemberSet("src", { name: "phones", params: { rate }, max, members: [member(1), member(2)] });
/** Through the pins only, as another process would. */
const members = () => openChain(name).members("phones");
const shown = () =>
  members()
    .list()
    .map(({ prefix, rate: at }) => `${prefix} ${at}`)
    .sort();

const pairs = (from: number, count: number) =>
  Array.from({ length: count }, (_, i) => ({
    local: "10.0.0.1",
    remote: `10.${(from + i) >> 16}.${((from + i) >> 8) & 255}.${(from + i) & 255}`,
    rate: "5mbit",
  }));

describe("members of a running chain", () => {
  test("are those the set was made with, and come, change and go", () => {
    submit(phones());
    members().add([member(3), member(4)]);
    // Full, but no more are added.
    members().add([member(1, 2), member(4, 2)]);
    members().replace([member(1), member(2)]);
    expect(shown()).toEqual(["10.0.0.1 5mbit", "10.0.0.2 5mbit"]);
    members().add([member(3), member(1, 7)]);
    expect(shown()).toEqual(["10.0.0.1 7mbit", "10.0.0.2 5mbit", "10.0.0.3 5mbit"]);
    members().update([{ prefix: "10.0.0.3", rate: "9mbit" }]);
    members().remove([{ prefix: "10.0.0.1" }]);
    expect(shown()).toEqual(["10.0.0.2 5mbit", "10.0.0.3 9mbit"]);
    members().replace([member(2, 1), member(4)]);
    expect(shown()).toEqual(["10.0.0.2 1mbit", "10.0.0.4 5mbit"]);
    expect(members().get({ prefix: "10.0.0.4" })).toEqual(member(4));
    // Longer than a prefix there is: no member of its own.
    members().add([{ prefix: "10.0.0.0/24", rate: "1mbit" }]);
    expect(members().get({ prefix: "10.0.0.9" })).toBeUndefined();
    expect(members().count()).toBe(3);
  });

  test.each<[string, () => void, RegExp]>([
    ["add a wrong one", () => members().add([member(3), { prefix: "x", rate: "1mbit" }]), /add member 2 .*prefix=x/],
    ["remove one that is none", () => members().remove([member(1), member(9)]), /remove member 2 .*no such member/],
    ["change one that is none", () => members().update([member(1, 9), member(9)]), /change member 2 .*no such member/],
    ["change to a wrong rate", () => members().update([member(2, 9), member(1, 1e9)]), /member 2 .*rate/],
    ["replace by a wrong one", () => members().replace([member(3, 1e9)]), /member 1 .*rate/],
    [
      "add too many",
      () => members().add([member(2, 9), member(3), member(4), member(5)]),
      /has 2 and can have 4.*room for 2/,
    ],
    [
      "replace by too many",
      () => members().replace([1, 2, 3, 4, 5].map((host) => member(host))),
      /Cannot add 5 .*room for 4/,
    ],
  ])("stay as they are when a person asks to %s", (_, change, message) => {
    submit(phones());
    expect(change).toThrow(message);
    expect(shown()).toEqual(["10.0.0.1 5mbit", "10.0.0.2 5mbit"]);
  });

  test("are refused with a count when a hash map is full, few at a time or many", () => {
    submit(new MemberSet("ip_pair", { name: "phones", params: { rate }, max: 1000, members: pairs(0, 990) }));
    for (const count of [11, 400]) {
      const more = pairs(990 - 5, count + 5).map((one) => ({ ...one, rate: "7mbit" }));
      expect(() => members().add(more)).toThrow(SetFullError);
      expect(() => members().add(more)).toThrow(
        new RegExp(`add ${count} members.*has 990 and can have 1000.*room for 10;`),
      );
      expect(members().count()).toBe(990);
      expect(
        members()
          .list()
          .every((one) => one["rate"] === "5mbit"),
      ).toBe(true);
    }
    members().add(pairs(990, 10));
    expect(members().count()).toBe(1000);
  });

  test("are told apart by their set's name", () => {
    submit(phones());
    expect(openChain(name).members().name).toBe("phones");
    expect(() => openChain(name).members("laptops")).toThrow(/set laptops.*it has phones/);
    openChain(name).remove();
    new PolicyChain(new SelectorChain(), new ActorChain().add("record"), { name, netns, interfaces: ["lo"] }).submit();
    expect(() => openChain(name).members()).toThrow(/none of its selectors/);
  });

  test("give an actor's parameter, which is not set for the whole chain then", () => {
    submit(phones());
    expect(openChain(name).params()).toEqual([{ rate: "phones.rate" }]);
    expect(() => openChain(name).set("rate_limit", { rate: "1mbit" })).toThrow(/members of phones/);
  });

  test("stay when the chain changes, also while their selector is disabled", async () => {
    submit(phones());
    members().add([member(3)]);
    await openChain(name).edit(({ actors }) => actors.add("record"));
    expect(shown()).toHaveLength(3);
    await openChain(name).edit(({ selectors, actors }) => {
      actors.disable("rate_limit");
      selectors.disable("src");
    });
    members().remove([{ prefix: "10.0.0.1" }]);
    await openChain(name).edit(({ selectors, actors }) => {
      selectors.enable("src");
      actors.enable("rate_limit");
    });
    expect(shown()).toEqual(["10.0.0.2 5mbit", "10.0.0.3 5mbit"]);
    const others = new MemberSet("src", { name: "others", params: { rate }, members: [member(9)] });
    await openChain(name).edit(({ selectors, actors }) => {
      selectors.select(others);
      actors.set("rate_limit", { rate: others.param("rate") });
    });
    expect(openChain(name).members("others").list()).toEqual([member(9)]);
    expect(openChain(name).params()[0]).toEqual({ rate: "others.rate" });
    expect(shown()).toHaveLength(2);
  });

  test("go on in a chain that takes the old one's place with room for more, and are never too many for it", () => {
    submit(phones());
    members().remove([{ prefix: "10.0.0.1" }]);
    members().add([member(3), member(4)]);
    const before = shown();
    limited(phones()).replace();
    expect(shown()).toEqual(before);
    limited(phones(1000)).replace();
    expect(shown()).toEqual(before);
    members().add(Array.from({ length: 200 }, (_, i) => member(10 + i)));
    expect(() => limited(phones(100)).replace()).toThrow(/set phones has 203 members.*room for 100/);
    expect(members().count()).toBe(203);
  });

  test("reach sockets that run when they come, change them, and let go of them when they go", async () => {
    const set = new MemberSet("subflow", { name: "phones", params: { rate } });
    const actors = new ActorChain().add("rate_limit", { rate: set.param("rate") });
    new PolicyChain(new SelectorChain().select(set), actors, { name, netns }).submit();
    const listener = await listenMptcp({ address: "127.0.0.1", port: 0, netns });
    const { port } = listener.address() as AddressInfo;
    const accepted: Socket[] = [];
    listener.on("connection", (socket) => accepted.push(socket));
    const clients = [];
    try {
      for (let i = 0; i < 2; i++) clients.push(await connectMptcp({ address: "127.0.0.1", port, netns }));
      const ports = clients.map(({ localPort }) => localPort!);
      const caps = () =>
        ports.map((wanted) => {
          const socket = dumpTcpSockets(netns).find(
            ({ local, state }) => local.port === wanted && state === "established",
          );
          return socket!.tcp!.maxPacingRateBytesPerSecond;
        });
      const [uncapped] = caps();
      const subflow = (i: number) => ({
        local: "127.0.0.1",
        remote: "127.0.0.1",
        localPort: ports[i],
        remotePort: port,
      });
      members().add([0, 1].map((i) => ({ ...subflow(i), rate: `${8 * (i + 1)}mbit` })));
      expect(caps()).toEqual([1_000_000, 2_000_000]);
      members().update([{ ...subflow(1), rate: "32mbit" }]);
      expect(caps()).toEqual([1_000_000, 4_000_000]);
      members().remove([subflow(0)]);
      expect(caps()).toEqual([uncapped, 4_000_000]);
    } finally {
      for (const socket of [...clients, ...accepted]) socket.destroy();
      listener.close();
    }
  });

  test("may be a hundred thousand", () => {
    const many = Array.from({ length: 100_000 }, (__, i) => ({
      local: i % 2 ? "10.0.0.1" : "fd00::1",
      remote: i % 2 ? `10.1.${(i >> 8) & 255}.${i & 255}` : `fd00::${(i >> 8).toString(16)}:${(i & 255).toString(16)}`,
      localPort: 443,
      remotePort: 1024 + (i >> 4),
      rate: `${1 + (i % 1000)}mbit`,
    }));
    submit(new MemberSet("subflow", { name: "phones", params: { rate }, max: 100_000 }));
    members().add(many);
    const list = members().list();
    expect(list).toHaveLength(100_000);
    expect(members().get(many[77_777])).toMatchObject({ rate: "778mbit", remotePort: String(1024 + (77_777 >> 4)) });
    members().remove(many.slice(0, 99_999));
    expect(members().list()).toEqual([members().get(many[99_999])]);
  });
});
