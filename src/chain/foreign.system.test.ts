import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { KernelRunner } from "../compiler/testing/kernel-runner.ts";
import { makeFrame } from "../compiler/testing/packets.ts";
import { chain, type ChainOptions, type Runner } from "../compiler/testing/policy-harness.ts";
import type { Hook } from "../compiler/index.ts";
import { mac, networkInterface, type Policy } from "../policy/index.ts";
import { createNetns, deleteNetns, ensureBpffs, openMap } from "../linux/index.ts";
import { parsePacket } from "../wire/index.ts";
import { ActorChain, SelectorChain } from "./compose.ts";
import { foreign } from "./foreign.ts";
import { PolicyChain } from "./policy-chain.ts";
import { sourceReader } from "./sources.ts";

const folder = mkdtempSync(join(tmpdir(), "emptcp-foreign-"));
afterAll(() => rmSync(folder, { recursive: true }));

const root = fileURLToPath(new URL("../..", import.meta.url));
/** asm/types.h is where the distribution keeps what differs between processors. */
const machineHeaders = readdirSync("/usr/include")
  .filter((name) => name.endsWith("-linux-gnu"))
  .map((name) => `-I/usr/include/${name}`);

function compile(name: string): string {
  const object = join(folder, `${name}.bpf.o`);
  const options = ["-O2", "-g", "-Wall", "-Werror", "-target", "bpf", `-I${root}/include`, ...machineHeaders];
  const { status, stderr, error } = spawnSync(
    "clang",
    [...options, "-c", `${root}/examples/foreign/${name}.c`, "-o", object],
    { encoding: "utf8" },
  );
  if (status !== 0) throw new Error(`Cannot compile ${name}.c: ${error?.message ?? stderr}`);
  return object;
}

const tenant = compile("multi_tenant");
const credits = compile("credits");
const macModify = foreign({ kind: "actor", file: tenant, program: "mac_modify", params: { mac } });
const redirect = foreign({ kind: "actor", file: tenant, program: "redirect", params: { ifindex: networkInterface } });
const collectCredit = foreign({ kind: "actor", file: credits, program: "collect_credit" });
const hasCredit = foreign({ kind: "selector", file: credits, program: "has_credit" });
const halveWindow = foreign({ kind: "actor", file: credits, program: "halve_window" });

const policies = new Map<string, Policy>(
  [macModify, redirect, collectCredit, hasCredit, halveWindow].map((policy) => [policy.name, policy]),
);

function inBoth(options: ChainOptions, hook: Hook, test: (runner: Runner) => void): void {
  const tested = chain({ source: { policies, reader: sourceReader }, mode: "linked", ...options });
  test(tested.vm(hook));
  using kernel = new KernelRunner(tested, hook);
  test(kernel);
}

/** A pure ACK that brings along `amount` of credit. */
const withCredit = (amount: number): Uint8Array =>
  makeFrame({ options: [{ kind: "unknown", bytes: Uint8Array.of(254, 8, 0xc3, 0xed, 0, 0, 0, amount) }] });

const listing3: ChainOptions = {
  select: ["port", { port: 80 }],
  actors: ["record", ["mac_modify", { mac: "02:00:00:00:00:07" }], ["redirect", { ifindex: 1 }]],
};

describe("foreign()", () => {
  it("runs the paper's Listing 3 between policies of our own, with parameters that change", () => {
    inBoth(listing3, "tcx_egress", (runner) => {
      expect([...runner.run(makeFrame()).packet.subarray(0, 6)]).toEqual([2, 0, 0, 0, 0, 7]);
      runner.set(1, { mac: "02:00:00:00:00:08" });
      expect([...runner.run(makeFrame()).packet.subarray(0, 6)]).toEqual([2, 0, 0, 0, 0, 8]);
      expect(runner.counters()).toMatchObject({ seen: 2, matched: [2], acted: [2, 2, 2], lost: 0 });
    });
  });

  it("redirects at the end of the chain", () => {
    inBoth({ actors: [["redirect", { ifindex: 1 }], "record"] }, "tcx_egress", (runner) => {
      expect(runner.run(makeFrame()).verdict).toBe("redirect");
      expect(runner.counters()).toMatchObject({ acted: [1, 1], lost: 0 });
    });
  });

  it("runs the paper's Listing 2, and selects by what it finds", () => {
    inBoth({ select: "has_credit", actors: ["collect_credit"] }, "xdp", (runner) => {
      for (const frame of [withCredit(3), makeFrame(), withCredit(4)]) runner.run(frame);
      expect(runner.counters()).toMatchObject({ seen: 3, matched: [2], acted: [2], lost: 0 });
    });
  });

  it("accounts for changed fields in the checksum", () => {
    inBoth({ actors: ["halve_window", "record"] }, "xdp", (runner) => {
      const { tcp } = parsePacket(runner.run(makeFrame({ tcp: { window: 1001 } })).packet);
      expect(tcp).toMatchObject({ window: 500 });
      expect(tcp?.checksum).toBeUndefined();
    });
  });

  it("keeps its maps when its chain is edited", async () => {
    const netns = `emptcp-foreign-${process.pid}`;
    createNetns(netns);
    const chainName = `foreign-${process.pid}`;
    try {
      const actors = new ActorChain().add("record").add(collectCredit);
      const options = { name: chainName, netns, interfaces: ["lo"], hook: "xdp" } as const;
      const running = new PolicyChain(new SelectorChain().select(hasCredit), actors, options).submit();
      try {
        const mapId = (): number => {
          using map = openMap(`${ensureBpffs()}/emptcp/chains/${chainName}/map_own_credits_bpf_o_credits_map`);
          return map.info().id;
        };
        const before = mapId();
        await running.edit((edited) => edited.actors.disable("record"));
        expect(running.description).toMatchObject({ mode: "linked", generation: 2 });
        expect(mapId()).toBe(before);
      } finally {
        running.remove();
      }
    } finally {
      deleteNetns(netns);
    }
  });

  it("makes its chain a linked one, and refuses what cannot be", () => {
    const actors = new ActorChain().add(macModify, { mac: "02:00:00:00:00:01" });
    const options = { interfaces: ["lo"], direction: "egress" } as const;
    const linked = new PolicyChain(new SelectorChain(), actors, options);
    expect(Object.keys(linked.compile().programArrays)).toEqual(["programs_tcx_egress"]);
    expect(() => linked.with({ mode: "fused" }).compile()).toThrow(/Cannot fuse a chain with mac_modify/);
    expect(() => linked.with({ hook: "xdp", direction: "ingress" }).compile()).toThrow(/on XDP: it is made for tc/);
    expect(() => foreign({ kind: "actor", file: tenant, program: "modify" })).toThrow(
      /those it has: mac_modify, redirect/,
    );
    const bare = foreign({ kind: "actor", file: tenant, program: "redirect" });
    expect(() => new PolicyChain(new SelectorChain(), new ActorChain().add(bare), options).compile()).toThrow(
      /reads parameters, and was given none/,
    );
  });
});
