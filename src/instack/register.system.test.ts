import { existsSync, mkdirSync, renameSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import {
  availableCongestionControls,
  defaultCongestionControl,
  deleteNetns,
  findBpffs,
  openLink,
  openMap,
  setDefaultCongestionControl,
} from "../linux/index.ts";
import { drop } from "../policies/drop.ts";
import { schedule, scheduler, type CongestionControl } from "../policy/index.ts";
import { stackLeftovers } from "./actors.ts";
import { listInStack, openInStack, registerInStack, type RunningInStack } from "./index.ts";
import { Connections, makeNetns } from "./testing/connections.ts";
import { counting, otherShape, plain } from "./testing/policies.ts";

const netns = `emptcp-instack-${process.pid}`;
const name = `emt_${process.pid}`;
const root = () => `${findBpffs()!}/emptcp`;
let open: Connections | undefined;

beforeAll(() => makeNetns(netns));
afterEach(() => {
  open?.close();
  open = undefined;
  setDefaultCongestionControl("reno", netns);
  for (const running of listInStack()) if (running.name.startsWith(name)) running.remove();
});
afterAll(() => deleteNetns(netns));

/** Connections under what is registered as `name`. */
async function connect(count: number): Promise<Connections> {
  setDefaultCongestionControl(name, netns);
  open = await Connections.open(netns, count);
  return open;
}

/** As if the process with number 1, of another time, had died making, or removing, what is registered as `name`. */
function abandon(undertaking: string): void {
  mkdirSync(`${root()}/making`, { recursive: true });
  renameSync(`${root()}/stack/${name}`, `${root()}/making/1-1-${undertaking}stack+${name}`);
}

const acked = (running: RunningInStack, state: string) =>
  running.state().find(({ slot }) => slot.name === state)!.shared!["acked"];

describe("registerInStack()", () => {
  test("makes a policy the congestion control of sockets, which any process finds", async () => {
    const running = registerInStack(counting, { name, base: "reno" });
    expect(availableCongestionControls()).toContain(name);
    expect(openInStack(name).description).toMatchObject({
      name,
      policy: "counting",
      base: "reno",
      operations: ["congAvoid"],
      generation: 1,
      owner: { pid: process.pid },
      stays: true,
    });
    expect(listInStack().map((one) => one.name)).toContain(name);
    const connections = await connect(3);
    await connections.send(200_000);
    expect(connections.congestionControls()).toEqual({ [name]: 6 });
    // The listening socket, too.
    expect(running.users()).toHaveLength(7);
    expect(new Set(running.users().flatMap(({ token }) => token ?? [])).size).toBe(6);
    expect(acked(running, "own")).toBeGreaterThan(0);
    expect(acked(running, "total")).toBeGreaterThan(0);
    expect(running.operations().map(({ operation }) => operation)).toEqual(
      expect.arrayContaining(["ssthresh", "undo_cwnd", "cong_avoid"]),
    );
  });

  test("refuses a name that is taken, by another actor or the kernel", () => {
    registerInStack(plain, { name });
    expect(() => registerInStack(counting, { name })).toThrow(/already.*emptcp stack replace/);
    expect(openInStack(name).description.policy).toBe("plain");
    expect(() => registerInStack(plain, { name: "cubic" })).toThrow(/kernel or another program/);
  });

  test.each([
    ["a name that is too long", () => registerInStack(plain, { name: "sixteen_letters_" }), /at most 15/],
    ["a name that the kernel does not take", () => registerInStack(plain, { name: "a-b" }), /letters, digits and _/],
    ["an empty name", () => registerInStack(plain, { name: "" }), /at most 15/],
    [
      "a base that there is not",
      () => registerInStack(plain, { name, base: "vegas" as "reno" }),
      /the bases are cubic, reno, bbr/,
    ],
    [
      "an actor on packets",
      () => registerInStack(drop as unknown as CongestionControl, { name }),
      /it is no congestion control/,
    ],
    [
      "nothing",
      () => registerInStack(undefined as unknown as CongestionControl, { name }),
      /it is no congestion control/,
    ],
  ])("refuses %s, and leaves nothing behind", (_, attempt, message) => {
    expect(attempt).toThrow(message);
    expect(availableCongestionControls()).not.toContain(name);
  });

  test("registers nothing when the host's state of that name is another one", () => {
    registerInStack(counting, { name });
    const other = `${name}b`;
    expect(() => registerInStack(otherShape, { name: other })).toThrow(/Cannot share state test_instack/);
    expect(availableCongestionControls()).not.toContain(other);
    expect(existsSync(`${root()}/stack/${other}`)).toBe(false);
    openInStack(name).remove();
    expect(existsSync(`${root()}/shared/test_instack`)).toBe(false);
  });

  test("names what the kernel lacks for a scheduler, where it takes none from programs", () => {
    const first = scheduler({
      name: "first",
      getSend(connection) {
        for (const subflow of connection.subflows) {
          schedule(subflow);
          return;
        }
      },
    });
    expect(() => registerInStack(first, { name })).toThrow(/Linux .*mptcp_sched_ops/);
    expect(existsSync(`${root()}/stack/${name}`)).toBe(false);
  });

  test("of one that is not to stay keeps it no longer than its process", () => {
    const running = registerInStack(plain, { name, stays: false });
    expect(listInStack().map((one) => one.name)).toContain(name);
    expect(running.description.stays).toBe(false);
  });
});

describe("what a killed process left", () => {
  test.each([
    ["half made", ""],
    ["half removed", "remove+"],
  ])("%s is taken out by the next one that looks, and sockets get the base", async (_, undertaking) => {
    registerInStack(counting, { name, base: "reno" });
    const connections = await connect(1);
    abandon(undertaking);
    expect(stackLeftovers().halves.map((one) => one.name)).toContain(name);
    expect(listInStack().map((one) => one.name)).not.toContain(name);
    expect(availableCongestionControls()).not.toContain(name);
    expect(stackLeftovers().halves.map((one) => one.name)).not.toContain(name);
    await connections.send(50_000);
    expect(connections.congestionControls()).toEqual({ reno: 2 });
  });

  test("of a replacement that was decided is completed by the next one that opens it", async () => {
    registerInStack(counting, { name, base: "reno" });
    const directory = `${root()}/stack/${name}`;
    {
      using about = openMap(`${directory}/about`);
      about.pin(`${directory}/changing`);
    }
    expect(openInStack(name).isRegistered()).toBe(true);
    expect(existsSync(`${directory}/changing`)).toBe(false);
    const connections = await connect(1);
    await connections.send(50_000);
    expect(connections.congestionControls()).toEqual({ [name]: 2 });
  });
});

describe("RunningInStack", () => {
  test("replace() moves running sockets and their namespace to the new policy, with the state of the old one", async () => {
    const running = registerInStack(counting, { name, base: "reno" });
    const connections = await connect(100);
    await connections.send(50_000);
    const before = acked(running, "own");
    const sending = connections.send(300_000);
    expect(await running.replace(counting, { base: "cubic" })).toMatchObject({
      sockets: 201,
      refused: 0,
      namespaces: 1,
    });
    await sending;
    expect(running.description).toMatchObject({ base: "cubic", generation: 2 });
    expect(openInStack(name).description).toEqual(running.description);
    expect(acked(running, "own")).toBeGreaterThan(before);
    const was = acked(running, "own");
    await connections.send(50_000);
    await connections.add(1);
    expect(acked(running, "own")).toBeGreaterThan(was);
    expect(connections.congestionControls()).toEqual({ [name]: 202 });
  });

  test("replace() leaves running sockets alone where it is told to", async () => {
    const running = registerInStack(counting, { name });
    const connections = await connect(3);
    await connections.send(50_000);
    expect(await running.replace(plain, { move: false })).toMatchObject({ sockets: 0 });
    expect(running.description.policy).toBe("plain");
    await connections.send(50_000);
    expect(connections.congestionControls()).toEqual({ [name]: 6 });
  });

  test("replace() changes nothing when it fails", async () => {
    const running = registerInStack(counting, { name });
    const { description } = running;
    await expect(running.replace(otherShape)).rejects.toThrow(/Cannot share state/);
    await expect(running.replace(drop as unknown as CongestionControl)).rejects.toThrow(/no congestion control/);
    expect(openInStack(name).description).toEqual(description);
  });

  test("replace() says so when somebody has detached its link", async () => {
    const running = registerInStack(plain, { name });
    openLink(`${root()}/stack/${name}/link_struct_ops`).detach();
    expect(running.isRegistered()).toBe(false);
    await expect(running.replace(counting)).rejects.toThrow(/emptcp stack stop/);
    running.remove();
    expect(existsSync(`${root()}/stack/${name}`)).toBe(false);
  });

  test("remove() takes the name away while sockets go on with it, where it is told to", async () => {
    const running = registerInStack(counting, { name, base: "reno" });
    const connections = await connect(3);
    await connections.send(50_000);
    expect(running.remove({ move: false })).toEqual({ sockets: 0, refused: 0, namespaces: 1 });
    expect(availableCongestionControls()).not.toContain(name);
    expect(defaultCongestionControl(netns)).toBe("reno");
    await connections.send(300_000);
    expect(connections.congestionControls()).toEqual({ [name]: 6 });
    expect(() => running.description).toThrow(/Cannot find/);
    expect(() => running.remove()).toThrow(/Cannot find/);
    // The name is free though sockets still use what had it.
    registerInStack(plain, { name });
    await connections.send(50_000);
  });

  test("remove() gives running sockets the base", async () => {
    const running = registerInStack(counting, { name, base: "reno" });
    const connections = await connect(3);
    expect(running.remove()).toMatchObject({ sockets: 7, refused: 0, namespaces: 1 });
    await connections.send(300_000);
    expect(connections.congestionControls()).toEqual({ reno: 6 });
  });

  test("rates() measures what operations cost", async () => {
    const running = registerInStack(counting, { name });
    const connections = await connect(1);
    const measuring = running.rates(0.3);
    await connections.send(500_000);
    const avoid = (await measuring).find(({ operation }) => operation === "cong_avoid")!;
    expect(avoid.runsPerSecond).toBeGreaterThan(0);
    expect(avoid.nsPerRun).toBeGreaterThan(0);
  });
});
