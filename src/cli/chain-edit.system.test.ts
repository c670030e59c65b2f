import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { listChains, openChain } from "../chain/index.ts";
import { createNetns, deleteNetns, ensureBpffs, openLink, openProgram, queryTcx, withNetns } from "../linux/index.ts";
import { built, emptcp, emptcpJson } from "./testing/run.ts";

const netns = `emptcp-edit-${process.pid}`;
const name = `edit-${process.pid}`;
const place = ["--netns", netns, "-i", "near", "--name", name];
let folder: string;

function ip(command: string): void {
  const { status, stderr } = withNetns(netns, () => spawnSync("ip", command.split(" "), { encoding: "utf8" }));
  if (status !== 0) throw new Error(`ip ${command}: ${stderr}`);
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "emptcp-edit-"));
  createNetns(netns);
  ip("link add near type veth peer name far");
});
afterEach(() => {
  if (listChains().some((chain) => chain.name === name)) openChain(name).remove();
});
afterAll(() => {
  deleteNetns(netns);
  rmSync(folder, { recursive: true });
});

/** A file in a folder from which the package cannot be resolved. */
function file(title: string, actors: string, before = ""): string {
  const path = join(folder, title);
  writeFileSync(
    path,
    `import { actor, u16 } from "emptcp/policy";
import { ActorChain, PolicyChain, SelectorChain } from "emptcp";
${before}
export default new PolicyChain(new SelectorChain(), new ActorChain()${actors}, { direction: "both" });
`,
  );
  return path;
}

const limit = '.add("rate_limit", { rate: "10mbit" })';
const halve = `export const halve = actor({ name: "halve", params: { shift: u16 }, run({ tcp }, { shift }) {
  tcp.window = tcp.window >> shift;
} });`;

const actorsNow = () => openChain(name).description.actors.map((actor) => actor.name);

describe("emptcp chain edit", () => {
  test("makes several edits in one step, with policies of a file too", () => {
    emptcp(["chain", "apply", file("limit.ts", limit), ...place]);
    const own = file("own.ts", ".add(halve, { shift: 1 })", halve);
    const edits = ["--add", `${own}:halve shift=3`, "--move", "halve 1", "--add", "record", "--disable", "rate_limit"];
    const { status, stdout, stderr } = emptcp(["chain", "edit", name, ...edits, "--exclude", "dst prefix=10.9.0.0/16"]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toMatch(/not dst\(prefix=10\.9\.0\.0\/16\)[^]*halve, rate_limit \[disabled\], record/);
    expect(openChain(name).params()).toEqual([{ shift: "3" }, { rate: "10mbit" }, { metrics: "basic" }]);
    // The next process finds the policy where the description says it is.
    expect(emptcp(["chain", "edit", name, "--remove", "record"]).status).toBe(0);
    expect(actorsNow()).toEqual(["halve", "rate_limit"]);
  });

  test("by several processes at once loses none of their edits", async () => {
    emptcp(["chain", "apply", file("limit.ts", limit), ...place]);
    const added = ["record", "blk_subflow", "record"];
    const edits = added.map((actor) => spawn(process.execPath, [built, "chain", "edit", name, "--add", actor]));
    const codes = await Promise.all(edits.map(async (child) => ((await once(child, "exit")) as [number])[0]));
    expect(codes).toEqual([0, 0, 0]);
    expect(actorsNow().toSorted()).toEqual(["rate_limit", ...added].toSorted());
    expect(openChain(name).description.generation).toBe(4);
  });

  const refused: readonly (readonly [edits: readonly string[], message: RegExp])[] = [
    [["--remove", "recrd"], /Cannot find actor recrd: there is none \(1 rate_limit\)/],
    [["--add", "recrd"], /"recrd".*built-in ones are/],
    [["--add", "record", "--set-selector", "1 prefix=x"], /Cannot find selector 1/],
    [["--move", "rate_limit"], /say to which place/],
    [[], /Cannot tell what to change/],
  ];
  test("that cannot be done changes nothing and says why", () => {
    emptcp(["chain", "apply", file("limit.ts", limit), ...place]);
    for (const [edits, message] of refused) {
      const { status, stderr } = emptcp(["chain", "edit", name, ...edits]);
      expect(stderr, edits.join(" ")).toMatch(message);
      expect(status, edits.join(" ")).not.toBe(0);
      expect(openChain(name).description.generation, edits.join(" ")).toBe(1);
    }
  });
});

describe("a chain whose interface was removed and made again", () => {
  test("is listed as not attached there, and attached again by repair", () => {
    emptcp(["chain", "apply", file("limit.ts", limit), ...place]);
    ip("link delete near");
    expect(emptcp(["chain", "list"]).stdout).toMatch(new RegExp(`${name}.*near \\(gone\\)`));
    expect(emptcpJson("chain", "repair", name)).toEqual([{ name, repaired: [] }]);
    ip("link add near type veth peer name far");
    expect(emptcpJson("chain", "repair", name)).toEqual([{ name, repaired: ["near"] }]);
    expect(withNetns(netns, () => queryTcx({ interface: "near", direction: "ingress" }))).toHaveLength(1);
    expect(emptcp(["chain", "list"]).stdout).not.toMatch(/\(gone\)/);
  });
});

/** Whether each hook has the program that belongs to the chain that is listed. */
function isWhole(): boolean {
  const directory = `${ensureBpffs()}/emptcp/chains/${name}`;
  return openChain(name).description.attachments.every(({ hook, pin }) => {
    using link = openLink(`${directory}/${pin}`);
    using program = openProgram(`${directory}/prog_${hook}`);
    return link.info().programId === program.info().id;
  });
}

const making = () => {
  const path = `${ensureBpffs()}/emptcp/making`;
  return existsSync(path) ? readdirSync(path).filter((entry) => entry.endsWith(`change+${name}`)) : [];
};

const rounds = 5;
/** Milliseconds that a change takes after its directory was made, and a little more. */
const spread = 60;

describe("emptcp chain apply --replace", () => {
  test("killed at any moment leaves the old chain or the new one in force on all hooks", async () => {
    const paths = [file("one.ts", limit), file("two.ts", `${limit}.add("record")`)];
    emptcp(["chain", "apply", paths[0], ...place]);
    const links = withNetns(netns, () => queryTcx({ interface: "near", direction: "egress" }));
    let interrupted = 0;
    for (let round = 1; round <= rounds; round++) {
      const child = spawn(process.execPath, [built, "chain", "apply", paths[round % 2], ...place, "--replace"], {
        stdio: "ignore",
      });
      const over = once(child, "exit");
      while (making().length === 0 && child.exitCode === null) await sleep(0);
      await sleep(spread * Math.random());
      if (child.kill("SIGKILL")) interrupted++;
      await over;
      listChains();
      expect([["rate_limit"], ["rate_limit", "record"]]).toContainEqual(actorsNow());
      expect({ whole: isWhole(), making: making() }).toEqual({ whole: true, making: [] });
      expect(withNetns(netns, () => queryTcx({ interface: "near", direction: "egress" }))).toHaveLength(1);
    }
    expect(interrupted).toBeGreaterThan(rounds / 4);
    expect(withNetns(netns, () => queryTcx({ interface: "near", direction: "egress" }))[0].linkId).toBe(
      links[0].linkId,
    );
  });
});
