import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import * as asm from "../bpf/asm.ts";
import { runnableModule } from "../lab/runnable.ts";
import {
  attachXdp,
  createNetns,
  deleteNetns,
  ensureBpffs,
  loadProgram,
  NoSuchInterfaceError,
  queryTcx,
  withNetns,
} from "../linux/index.ts";
import { actor } from "../policy/index.ts";
import {
  ActorChain,
  ChainExistsError,
  listChains,
  NoSuchChainError,
  openChain,
  ParameterError,
  PolicyChain,
  SelectorChain,
  type ChainOptions,
} from "./index.ts";
import { converse } from "./testing/converse.ts";

const netns = `emptcp-chain-${process.pid}`;
const prefix = `test-${process.pid}-`;

beforeAll(() => {
  createNetns(netns);
  for (const command of ["link set lo up", "link add near type veth peer name far"]) {
    const { status, stderr } = withNetns(netns, () => spawnSync("ip", command.split(" "), { encoding: "utf8" }));
    if (status !== 0) throw new Error(`ip ${command}: ${stderr}`);
  }
});
afterEach(() => {
  for (const chain of listChains()) if (chain.name.startsWith(prefix)) chain.remove();
});
afterAll(() => deleteNetns(netns));

const limitAndRecord = () => new ActorChain().add("rate_limit", { rate: "10mbit" }).add("record");

function makeChain(title: string, options: ChainOptions = {}, actors = limitAndRecord()): PolicyChain {
  return new PolicyChain(new SelectorChain(), actors, { name: prefix + title, netns, interfaces: ["lo"], ...options });
}

const programsOn = (name: string) =>
  withNetns(netns, () =>
    (["ingress", "egress"] as const).flatMap((direction) => queryTcx({ interface: name, direction })),
  );

/** What this run pinned, finished or not. */
function pinned(): string[] {
  return ["chains", "making"].flatMap((folder) => {
    const path = `${ensureBpffs()}/emptcp/${folder}`;
    return existsSync(path) ? readdirSync(path).filter((name) => name.includes(prefix)) : [];
  });
}

describe("submit()", () => {
  test("attaches to every interface in every direction, and remove() takes all of it off", () => {
    const running = makeChain("all", { interfaces: ["lo", "near"] }).submit();
    expect(programsOn("lo")).toHaveLength(2);
    expect(programsOn("near")).toHaveLength(2);
    running.remove();
    // Not even an empty folder stays behind, unless this machine has chains of its own.
    expect(existsSync(`${ensureBpffs()}/emptcp`)).toBe(listChains().length > 0);
    expect([...programsOn("lo"), ...programsOn("near"), ...pinned()]).toEqual([]);
  });

  test("leaves nothing when the second interface refuses", () => {
    const pass = loadProgram(
      {
        name: "pass",
        type: "xdp",
        license: "GPL",
        instructions: [asm.alu64.mov.imm(0, 2), asm.exit()],
        maps: {},
      },
      {},
    );
    const occupy = (name: string) => withNetns(netns, () => attachXdp(pass, { interface: name }));
    const occupied = occupy("far");
    try {
      const ingressOnly = new ActorChain().add("blk_subflow");
      expect(() => makeChain("xdp", { interfaces: ["near", "far"], hook: "xdp" }, ingressOnly).submit()).toThrow(
        /XDP of far: another program/,
      );
      expect(pinned()).toEqual([]);
      // An interface takes one XDP link only: that this works shows that the chain's is gone.
      occupy("near").close();
    } finally {
      occupied.close();
      pass.close();
    }
  });

  test("leaves nothing when an interface does not exist", () => {
    expect(() => makeChain("nowhere", { interfaces: ["lo", "eth77"] }).submit()).toThrow(NoSuchInterfaceError);
    expect([...programsOn("lo"), ...pinned()]).toEqual([]);
  });

  test("refuses a name that is taken, and the chain that has it goes on", () => {
    makeChain("twice").submit();
    expect(() => makeChain("twice").submit()).toThrow(ChainExistsError);
    expect(programsOn("lo")).toHaveLength(2);
    expect(openChain(`${prefix}twice`).counters().seen).toBe(0);
  });

  test("runs two chains on one interface side by side", async () => {
    const [first, second] = ["first", "second"].map((title) => makeChain(title).submit());
    await converse(netns, 1000);
    expect(first.counters().seen).toBeGreaterThan(0);
    expect(second.counters().seen).toBe(first.counters().seen);
  });

  test("takes policies from the file that defines them", async () => {
    const ignore = actor({ name: "ignore", run() {} });
    const running = makeChain("own", {}, new ActorChain().add(ignore)).submit();
    await converse(netns, 1000);
    expect(running.counters().matched).toBeGreaterThan(0);
  });
});

describe("a chain whose process died", () => {
  test("before it was whole is removed by the next one that looks", async () => {
    const script = runnableModule("chain/testing/half-chain.ts");
    const child = spawn(process.execPath, [script, `${prefix}half`, netns], { stdio: ["pipe", "pipe", "inherit"] });
    await once(child.stdout, "data");
    expect(listChains().map(({ name }) => name)).not.toContain(`${prefix}half`);
    // Its process lives, so it may yet become whole.
    expect(pinned()).toHaveLength(1);
    child.kill("SIGKILL");
    await once(child, "exit");
    listChains();
    expect([...programsOn("lo"), ...pinned()]).toEqual([]);
  });
});

describe("RunningChain", () => {
  test("counts what it was shown, and keeps flows as both ends see them", async () => {
    const running = makeChain("counts").submit();
    await converse(netns, 50_000);
    const { seen, matched, actors } = openChain(running.name).counters();
    expect(matched).toBe(seen);
    expect(actors.map(({ name, seen: shown }) => [name, shown])).toEqual([
      ["rate_limit", seen],
      ["record", seen],
    ]);
    const flows = running.flows("record").map(({ fields }) => fields);
    // Over the loopback both ends of a connection are local, and each packet leaves and arrives.
    expect(flows).toHaveLength(2);
    expect(flows[0]["packetsIn"]).toBe(flows[1]["packetsOut"]);
    expect(Math.max(...flows.map(({ bytesIn }) => bytesIn))).toBeGreaterThan(50_000);
  });

  test("changes parameters: all that are given, or none", () => {
    const running = makeChain("set").submit();
    running.set("rate_limit", { rate: "5mbit" });
    expect(openChain(running.name).params()[0]).toEqual({ rate: "5mbit" });
    expect(() =>
      running.setAll([
        [1, { rate: "7mbit" }],
        ["record", { size: 1 }],
      ]),
    ).toThrow(ParameterError);
    expect(() => running.set("rate_limit", { rate: "1kbit" })).toThrow(ParameterError);
    expect(running.params()[0]).toEqual({ rate: "5mbit" });
  });

  test("tells actors of one name apart by their place", () => {
    const running = makeChain("places", {}, limitAndRecord().add("rate_limit", { rate: "3mbit" })).submit();
    expect(() => running.set("rate_limit", { rate: "5mbit" })).toThrow(/several/);
    running.set(3, { rate: "5mbit" });
    expect(running.params().map(({ rate }) => rate)).toEqual(["10mbit", undefined, "5mbit"]);
  });
});

test("openChain() names the chains there are", () => {
  makeChain("there").submit();
  expect(() => openChain(`${prefix}missing`)).toThrow(NoSuchChainError);
  expect(() => openChain(`${prefix}missing`)).toThrow(`${prefix}there`);
  expect(() => openChain("../chains")).toThrow(NoSuchChainError);
});
