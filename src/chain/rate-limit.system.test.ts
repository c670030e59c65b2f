import { spawnSync } from "node:child_process";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { createNetns, deleteNetns, localAddresses, withNetns } from "../linux/index.ts";
import { ActorChain, PolicyChain, SelectorChain, type ChainOptions, type RunningChain } from "./index.ts";

const netns = `emptcp-limit-${process.pid}`;
// For documentation (RFC 5737, RFC 3849): no address of the machine.
const addresses = ["192.0.2.1", "2001:db8::1"] as const;
let running: RunningChain | undefined;

function ip(command: string): void {
  const { status, stderr } = withNetns(netns, () => spawnSync("ip", command.split(" "), { encoding: "utf8" }));
  if (status !== 0) throw new Error(`ip ${command}: ${stderr}`);
}

beforeAll(() => {
  createNetns(netns);
  ip("link add near type veth peer name far");
});
afterEach(() => running?.remove());
afterAll(() => deleteNetns(netns));

function limit(local: string, options: ChainOptions = {}): PolicyChain {
  const remote = local.includes(":") ? "2001:db8::2" : "192.0.2.2";
  const one = new SelectorChain().select("subflow", { local, remote, localPort: 1, remotePort: 2 });
  const actors = new ActorChain().add("rate_limit", { rate: "1mbit" });
  return new PolicyChain(one, actors, { name: `limit-${process.pid}`, netns, interfaces: ["near"], ...options });
}
const actorsOf = ({ description }: RunningChain): string[] => description.actors.map(({ name }) => name);

test.each(addresses)(
  "rate_limit paces a subflow of its own namespace, and others pass a policer: %s",
  async (local) => {
    running = limit(local).submit();
    expect(actorsOf(running)).toEqual(["police"]);
    running.remove();
    // Also one of an interface that is down.
    ip(`addr add ${local} dev near`);
    expect(withNetns(netns, localAddresses)).toContain(local);
    expect(localAddresses()).not.toContain(local);
    running = limit(local).submit();
    expect(actorsOf(running)).toEqual(["pace"]);
    running.set("rate_limit", { rate: "2mbit" });
    expect(running.params()).toEqual([{ rate: "2mbit" }]);
    ip(`addr del ${local} dev near`);
    await running.edit(({ actors }) => actors.insert(1, "record"));
    expect(actorsOf(running)).toEqual(["record", "pace"]);
    expect(running.params()[1]).toEqual({ rate: "2mbit" });
  },
);

test("rate_limit polices on XDP what arrives, where its subflow does not end", () => {
  running = limit(addresses[0], { hook: "xdp" }).submit();
  expect(actorsOf(running)).toEqual(["police"]);
  expect(running.attachments().map(({ hook }) => hook)).toEqual(["xdp"]);
});
