import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { emptcp, emptcpJson } from "./testing/run.ts";

const capture = fileURLToPath(new URL("../wire/vectors/ipv4.pcapng", import.meta.url));
let folder: string;
let chain: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "emptcp-explain-"));
  chain = join(folder, "block.ts");
  writeFileSync(
    chain,
    `import { ActorChain, PolicyChain, SelectorChain } from "emptcp";
     export default new PolicyChain(
       new SelectorChain().select("dst", { prefix: "10.0.0.0/8" }),
       new ActorChain().add("blk_subflow"),
     );`,
  );
});
afterAll(() => rmSync(folder, { recursive: true }));

// Each run starts a process that compiles a chain.
describe("emptcp chain explain", { timeout: 60_000 }, () => {
  test("tells packet by packet what a chain does with a capture", () => {
    const { status, stdout, stderr } = emptcp(["chain", "explain", capture, chain]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toMatch(/^ +selector  dst\(prefix=10\.0\.0\.0\/8\)  matched$/m);
    expect(stdout).toMatch(/^ +actor     blk_subflow  acted: drop$/m);
    expect(stdout).toMatch(/^ +state     blk_subflow, announced of .*: new kept 512/m);
    expect(stdout).toMatch(/^ +verdict   drop$/m);
    expect(stdout).toMatch(/does not say which packets came in/);
  });

  test("shows only the packets that were asked for, with the numbers they have in the capture", () => {
    const all = emptcpJson("chain", "explain", capture, chain) as { number: number; kind: string; verdict?: string }[];
    const matched = emptcpJson("chain", "explain", capture, "--chain", chain, "--only-matched");
    expect(matched).toEqual(all.filter(({ kind }) => kind === "explained"));
    const other = emptcpJson("chain", "explain", capture, chain, "--flow", "10.88.2.2:5004") as { number: number }[];
    expect(other.length).toBeGreaterThan(0);
    expect(all).toEqual(expect.arrayContaining(other));
    expect(emptcpJson("chain", "explain", capture, chain, "--flow", "192.0.2.1")).toEqual([]);
  });

  test("takes the host's addresses from --local", () => {
    const local = emptcpJson("chain", "explain", capture, chain, "--local", "10.88.0.0/16") as {
      direction: { direction: string; source: string };
    }[];
    expect(local.map(({ direction }) => direction)).toEqual(
      local.map(() => ({ direction: "egress", source: "local" })),
    );
  });

  test.each([
    ["a capture that is not there", ["nowhere.pcap", "x.ts"], 1, /Cannot read nowhere\.pcap: there is no such file/],
    ["a file that is no capture", [fileURLToPath(import.meta.url), "x.ts"], 1, /neither a pcapng nor a pcap file/],
    ["no chain", [capture], 2, /give a capture and one chain/],
    ["a capture of an interface", [capture, "x.ts", "-i", "lo"], 2, /with --interface give one chain/],
    ["a namespace for a capture", [capture, "x.ts", "--netns", "client"], 2, /without --interface/],
    ["a flow that is none", [capture, "x.ts", "--flow", "home"], 2, /Give one end or two/],
    ["an address that is none", [capture, "x.ts", "--local", "10.0.0.300"], 2, /above 255/],
  ])("refuses %s", (_, args, exitCode, message) => {
    const { status, stdout, stderr } = emptcp(["chain", "explain", ...args]);
    expect(stderr).toMatch(message);
    expect({ status, stdout }).toEqual({ status: exitCode, stdout: "" });
  });
});
