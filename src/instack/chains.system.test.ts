import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { ActorChain, listChains, PolicyChain, SelectorChain } from "../chain/index.ts";
import { deleteNetns, setDefaultCongestionControl } from "../linux/index.ts";
import { emptcp, listInStack, registerInStack, Strategies } from "./index.ts";
import { Connections, makeNetns } from "./testing/connections.ts";

const netns = `emptcp-controls-${process.pid}`;
const elsewhere = `${netns}-other`;
const name = `emc_${process.pid}`;
const title = `test-controls-${process.pid}`;
let open: Connections | undefined;

beforeAll(() => {
  makeNetns(netns);
  makeNetns(elsewhere);
  for (const one of [netns, elsewhere]) setDefaultCongestionControl("reno", one);
});
afterEach(() => {
  open?.close();
  open = undefined;
  for (const chain of listChains()) if (chain.name === title) chain.remove();
  for (const running of listInStack()) if (running.name === name) running.remove();
});
afterAll(() => {
  for (const one of [netns, elsewhere]) deleteNetns(one);
});

const chain = (control: string) =>
  new PolicyChain(new SelectorChain(), new ActorChain().add("stack_rate", { rate: "40mbit", control }), {
    name: title,
    netns,
  });

test("a chain whose congestion control is not registered is refused, and says what registers it", () => {
  expect(() => chain(name).submit()).toThrow(
    new RegExp(`stack_rate.control=${name}: no congestion control.*emptcp stack start --name ${name}.*reno`),
  );
  expect(listChains().map((one) => one.name)).not.toContain(title);
});

test("a chain gives sockets congestion control that is registered, and its strategy", async () => {
  registerInStack(emptcp, { name, base: "reno" });
  const running = chain(name).submit();
  expect(() => running.set("stack_rate", { control: `${name}x` })).toThrow(/no congestion control of that name/);
  open = await Connections.open(netns, 2);
  await open.send(200_000);
  expect(open.congestionControls()).toEqual({ [name]: 4 });
  using strategies = new Strategies();
  const ports = () =>
    strategies
      .list()
      .filter(({ strategy }) => strategy.kind === "rate" && strategy.rateBytesPerSecond === 5_000_000)
      .filter(({ target }) => "remote" in target && target.remote.port === open!.port);
  expect(ports()).toHaveLength(2);
  running.remove();
  expect(ports()).toHaveLength(0);
});

test("a chain leaves the sockets of other network namespaces alone", async () => {
  registerInStack(emptcp, { name, base: "reno" });
  const running = chain(name).submit();
  await running.replace(chain(name));
  open = await Connections.open(elsewhere, 1);
  await open.send(50_000);
  expect(open.congestionControls()).toEqual({ reno: 2 });
  const own = await Connections.open(netns, 1);
  try {
    expect(own.congestionControls()).toEqual({ [name]: 2 });
  } finally {
    own.close();
  }
});
