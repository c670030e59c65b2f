import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createNetns, deleteNetns, withNetns } from "../linux/index.ts";
import { actor, shared, u32, u64 } from "../policy/index.ts";
import { ActorChain, MemberSet, PolicyChain, SelectorChain } from "./index.ts";

const netns = `emptcp-matomic-${process.pid}`;

beforeAll(() => {
  createNetns(netns);
  const { status, stderr } = withNetns(netns, () => spawnSync("ip", ["link", "set", "lo", "up"], { encoding: "utf8" }));
  if (status !== 0) throw new Error(stderr);
});
afterAll(() => deleteNetns(netns));

/** Counts packets for which the two parameters of a member, which are always changed together, are not the same. */
export const checkPair = actor({
  name: "check_pair",
  direction: "both",
  params: { left: u32, right: u32 },
  state: { seen: shared({ packets: u64, torn: u64, last: u64 }) },
  run(_packet, { left, right }, { seen }) {
    seen.packets += 1;
    if (left !== right) seen.torn += 1;
    seen.last = left;
  },
});

/** Sends back and forth over one connection, and tells when it is there and when it breaks. */
const traffic = `
const net = require("node:net");
const server = net.createServer((socket) => socket.pipe(socket)).listen(0, "127.0.0.1", () => {
  const client = net.connect(server.address().port, "127.0.0.1", () => {
    console.log("connected");
    for (let i = 0; i < 16; i++) client.write(Buffer.alloc(65536));
  });
  client.on("data", (data) => client.write(data));
  client.on("close", () => process.exit(1));
});
`;

test("a packet meets a member's old parameters or the new ones, while a transfer runs and members change all the time", async () => {
  const set = new MemberSet("ip_pair", {
    params: checkPair.params,
    members: [{ local: "127.0.0.1", remote: "127.0.0.1", left: 1, right: 1 }],
  });
  const actors = new ActorChain().add(checkPair, { left: set.param("left"), right: set.param("right") });
  const options = { name: `members-atomic-${process.pid}`, netns, interfaces: ["lo"] };
  const running = new PolicyChain(new SelectorChain().select(set), actors, options).submit();
  const sender = spawn("ip", ["netns", "exec", netns, process.execPath, "-e", traffic], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    await once(sender.stdout, "data");
    const members = running.members();
    const changes = 4000;
    for (let i = 2; i <= changes; i++) {
      const pair = { left: i, right: i };
      members.add([{ local: "127.0.0.1", remote: "127.0.0.1", ...pair }]);
      // Memory that a change set free is taken for the next member.
      if (i % 2) members.add([{ local: "127.0.0.1", remote: `10.0.0.${i % 200}`, left: 5 * i, right: 5 * i }]);
    }
    const { packets, torn } = running.shared("check_pair", "seen");
    expect(sender.exitCode).toBeNull();
    expect(torn).toBe(0);
    expect(packets).toBeGreaterThan(1000);
    for (let wait = 0; wait < 100 && running.shared("check_pair", "seen")["last"] !== changes; wait++) await sleep(100);
    expect(running.shared("check_pair", "seen")["last"]).toBe(changes);
  } finally {
    sender.kill();
    running.remove();
  }
});
