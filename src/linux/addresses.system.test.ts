import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { usableAddresses, watchAddresses } from "./addresses.ts";
import { createNetns, deleteNetns } from "./netns.ts";
import { run } from "./testing/host-pair.ts";

const name = `emptcp-addr-${process.pid}`;

beforeEach(() => createNetns(name));
afterEach(() => deleteNetns(name));

/** Carriers are noticed once a second. */
const slow = { timeout: 10_000 };
const ip = (...args: string[]) => run("ip", "-n", name, ...args);

test("watchAddresses() tells of what is there, then of addresses and links that come and go", async () => {
  ip("link", "set", "lo", "up");
  ip("link", "add", "wifi", "type", "veth", "peer", "name", "peer");
  ip("address", "add", "10.8.0.1/24", "dev", "wifi");
  const told: string[] = [];
  using watcher = watchAddresses(
    {
      added: ({ address, interface: link, scope }) => told.push(`+ ${address} ${link} ${scope}`),
      removed: ({ address, interface: link }) => told.push(`- ${address} ${link}`),
    },
    { netns: name },
  );
  expect(told).toEqual(["+ 127.0.0.1 lo host", "+ ::1 lo host"]);
  const next = async (...expected: string[]) => {
    await vi.waitFor(() => {
      expect(told.filter((one) => !one.includes("fe80"))).toEqual(expected);
    }, slow);
    told.splice(0);
  };
  told.splice(0);
  // Both ends of the cable are needed for a carrier.
  ip("link", "set", "wifi", "up");
  ip("link", "set", "peer", "up");
  await next("+ 10.8.0.1 wifi global");
  ip("address", "add", "2001:db8::1/64", "dev", "wifi", "nodad");
  await next("+ 2001:db8::1 wifi global");
  ip("link", "set", "peer", "down");
  await next("- 10.8.0.1 wifi", "- 2001:db8::1 wifi");
  ip("link", "set", "peer", "up");
  await next("+ 10.8.0.1 wifi global", "+ 2001:db8::1 wifi global");
  expect(usableAddresses(name)).toEqual(watcher.addresses);
  ip("address", "del", "10.8.0.1/24", "dev", "wifi");
  await next("- 10.8.0.1 wifi");
  ip("link", "delete", "wifi");
  await next("- 2001:db8::1 wifi");
});

test("watchAddresses() has the right picture after more changes than there is room for", async () => {
  ip("link", "set", "lo", "up");
  using watcher = watchAddresses({ added: () => undefined, removed: () => undefined }, { netns: name });
  const changes = Array.from({ length: 3000 }, (_, i) => `address add 10.${i >> 8}.${i & 255}.1/32 dev lo`);
  for (const batch of [changes, changes.map((one) => one.replace(" add ", " del ")).slice(1)])
    run("sh", "-c", `ip -n ${name} -batch - <<'END'\n${batch.join("\n")}\nEND`);
  await vi.waitFor(() => {
    expect(watcher.addresses.filter(({ scope }) => scope === "global").map(({ address }) => address)).toEqual([
      "10.0.0.1",
    ]);
  }, slow);
});
