import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import {
  connectMptcp,
  createNetns,
  deleteNetns,
  findBpffs,
  listenMptcp,
  mptcpInfo,
  withNetns,
} from "../linux/index.ts";
import { actor, flows, hostWide, known, shared, u32, u64, type Actor } from "../policy/index.ts";
import { ActorChain, listChains, PolicyChain, SelectorChain, type RunningChain } from "./index.ts";

const netns = `emptcp-host-${process.pid}`;
const prefix = `test-host-${process.pid}-`;
const name = `test_${process.pid}`;

beforeAll(() => {
  createNetns(netns);
  const { status, stderr } = withNetns(netns, () => spawnSync("ip", ["link", "set", "lo", "up"], { encoding: "utf8" }));
  if (status !== 0) throw new Error(`ip link set lo up: ${stderr}`);
});
afterEach(() => {
  for (const chain of listChains()) if (chain.name.startsWith(prefix)) chain.remove();
});
afterAll(() => deleteNetns(netns));

const isShared = (): boolean => existsSync(`${findBpffs()!}/emptcp/shared/${name}`);

const count = actor({
  name: "count",
  state: { seen: hostWide(name, shared({ packets: u64 })) },
  run(_packet, _params, { seen }) {
    seen.packets += 1;
  },
});
const look = actor({ name: "look", state: { seen: hostWide(name, shared({ packets: u64 })) }, run() {} });
const other = actor({ name: "other", state: { seen: hostWide(name, shared({ packets: u32 })) }, run() {} });

const seenBy = (chain: RunningChain): number => chain.shared("look", "seen")["packets"];

function submit(title: string, policy: Actor): RunningChain {
  const options = { name: prefix + title, netns, interfaces: ["lo"] };
  return new PolicyChain(new SelectorChain(), new ActorChain().add(policy), options).submit();
}

/** Opens an MPTCP connection within the namespace, calls `during` with its ends' tokens, and closes it. */
async function connected(during: (tokens: readonly number[]) => void): Promise<void> {
  const listener = await listenMptcp({ address: "127.0.0.1", port: 0, netns });
  try {
    const accepted = once(listener, "connection") as Promise<[Socket]>;
    const client = await connectMptcp({ address: "127.0.0.1", port: (listener.address() as AddressInfo).port, netns });
    const [server] = await accepted;
    client.write("hello");
    await once(server, "data");
    try {
      during([client, server].map((socket) => mptcpInfo(socket).token));
    } finally {
      server.end();
      client.end();
    }
  } finally {
    listener.close();
  }
}

describe("hostWide()", () => {
  test("is one memory for all chains that name it, and goes with the last one", async () => {
    const [first, second] = [submit("first", count), submit("second", look)];
    await connected(() => {});
    const { packets } = first.shared("count", "seen");
    expect(packets).toBeGreaterThan(3);
    // The last ones may still be on their way.
    expect(seenBy(second)).toBeGreaterThanOrEqual(packets);
    first.remove();
    expect(isShared()).toBe(true);
    expect(seenBy(second)).toBeGreaterThanOrEqual(packets);
    const third = submit("third", look);
    expect(seenBy(third)).toBe(seenBy(second));
    second.remove();
    third.remove();
    expect(isShared()).toBe(false);
  });

  test("is refused to a chain whose records are others, and says which", () => {
    submit("first", count);
    expect(() => submit("second", other)).toThrow(
      `Cannot share state ${name} with the rest of the host: others keep shared: packets u64 @0; this one wants shared: packets u32 @0`,
    );
    expect(listChains().map((chain) => chain.name)).not.toContain(`${prefix}second`);
    const making = `${findBpffs()!}/emptcp/making`;
    const left = existsSync(making) ? readdirSync(making) : [];
    expect(left.filter((entry) => entry.startsWith(`${process.pid}-`))).toEqual([]);
  });
});

const tell = actor({
  name: "tell",
  direction: "both",
  state: { flows: flows({ token: known(u32, "tokenLocal") }) },
  run() {},
});

describe("known()", () => {
  test("fills in the tokens of connections that run already", async () => {
    await connected((tokens) => {
      const running = submit("tokens", tell);
      const found = running.flows("tell").map(({ fields }) => fields["token"]);
      expect(new Set(tokens).size).toBe(2);
      expect(found).toEqual(expect.arrayContaining([...tokens]));
    });
  });
});
