import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readElf } from "../bpf/index.ts";
import { emptcp, emptcpJson } from "./testing/run.ts";

describe("emptcp build", () => {
  let folder = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "emptcp-build-"));
  });
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  function source(name: string, lines: readonly string[]): string {
    const file = join(folder, name);
    writeFileSync(file, lines.join("\n"));
    return file;
  }
  const chain = [
    'import { ActorChain, PolicyChain, SelectorChain } from "emptcp";',
    'const actors = new ActorChain().add("record").add("rate_limit", { rate: "8mbit" });',
    "export default new PolicyChain(new SelectorChain(), actors);",
  ];
  const policy = [
    'import { actor, u16 } from "emptcp/policy";',
    'export const cap = actor({ name: "cap", run({ tcp }) { tcp.window = u16(9); } });',
  ];

  it("writes the chain of a file, and says what it wrote and how to load it", () => {
    const file = source("limit.ts", chain);
    const output = join(folder, "limit.bpf.o");
    const { status, stdout, stderr } = emptcp(["build", file, "-o", output]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toMatch(/tcx_ingress +tc +\d/);
    expect(stdout).toContain(`bpftool prog loadall ${output} /sys/fs/bpf/limit`);
    const { programs, maps } = readElf(readFileSync(output));
    expect(programs.map(({ name }) => name)).toContain("tcx_ingress");
    // The words of record.metrics and rate_limit.rate.
    const words = maps[".data.params"].contents![0].value;
    expect(Buffer.from(words).readBigUInt64LE(8)).toBe(1_000_000n);
  });

  it("builds the only actor of a file for the hook that is asked for", () => {
    const output = join(folder, "cap.o");
    const answer = emptcpJson("build", source("cap.ts", policy), "--hook", "xdp", "-o", output);
    expect(answer).toMatchObject({ file: output, chain: "cap", programs: [{ name: "xdp", section: "xdp" }] });
  });

  it.each([
    [
      "a file without a chain",
      ["export const one = 1;"],
      "neither a PolicyChain as its default export nor a single actor",
    ],
    ["what the language has not", [policy[0], policy[1].replace("u16(9)", "u16(eval('9'))")], "Cannot compile: "],
  ])("refuses %s", (_, lines, reason) => {
    const { status, stderr } = emptcp(["build", source("wrong.ts", lines), "-o", join(folder, "wrong.o")]);
    expect(status).toBe(1);
    expect(stderr).toContain(reason);
  });

  it("says why it cannot write", () => {
    const { status, stderr } = emptcp(["build", source("cap2.ts", policy), "-o", join(folder, "no", "cap.o")]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^emptcp: Cannot write .*no\/cap\.o: .*no such file/);
  });
});
