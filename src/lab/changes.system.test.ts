import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { ActorChain, PolicyChain, SelectorChain, type ChainOptions, type RunningChain } from "../chain/index.ts";
import { createLab, startTransfer, type Lab } from "./index.ts";
import { between, expectMark, leaveMark } from "./testing/pairs.ts";

// A change of a running chain is atomic for each packet, whatever is changed, while packets come as fast as they can.

let lab: Lab;
const chains: RunningChain[] = [];

beforeAll(async () => {
  lab = await createLab({
    hosts: { client: {}, server: { endpoints: "signal" } },
    links: [
      { name: "wifi", between: ["client", "server"] },
      { name: "lte", between: ["client", "server"] },
    ],
  });
});
afterEach(() => {
  for (const chain of chains.splice(0)) chain.remove();
});
afterAll(async () => {
  await lab.close();
});

const pair = (value: number) => new ActorChain().add(leaveMark, { value }).add(expectMark, { value });

function submit(title: string, options: ChainOptions): RunningChain {
  const name = `changes-${process.pid}-${title}`;
  const place = { name, interfaces: ["wifi", "lte"], netns: lab.host("client").netns };
  const chain = new PolicyChain(new SelectorChain(), pair(0), { ...place, ...options }).submit();
  chains.push(chain);
  return chain;
}

/** Lets the transfer, which runs in this process too, go on. */
const breathe = () => new Promise((resolve) => setImmediate(resolve));

const marks = (running: RunningChain) => running.shared("expect_mark", "all");

/** Both parameters of the pair, in one step. */
function setPair(running: RunningChain, value: number): void {
  running.setAll([
    ["leave_mark", { value }],
    ["expect_mark", { value }],
  ]);
}

/** What is done to the chain in turn; each leaves the pair a pair. */
const edits: readonly ((chain: { selectors: SelectorChain; actors: ActorChain }, round: number) => void)[] = [
  ({ actors }) => void actors.insert(2, between),
  ({ actors }, value) => void actors.set("leave_mark", { value }).set("expect_mark", { value }),
  ({ actors }) => void actors.move("between", 1),
  ({ actors }) => void actors.disable("leave_mark").disable("expect_mark"),
  ({ selectors }) => void selectors.exclude("packet_type", { type: "rst" }),
  ({ actors }) => void actors.enable("leave_mark").enable("expect_mark"),
  ({ actors }) => void actors.remove("between"),
  ({ selectors }) => void selectors.remove(1),
];

test.each<[string, ChainOptions, number, number]>([
  ["tcx", {}, 4000, 40],
  ["xdp", { hook: "xdp", direction: "ingress" }, 1600, 16],
  ["linked", { mode: "linked" }, 1600, 16],
])("no packet meets half a change on %s, and every byte arrives", async (title, options, sets, replacements) => {
  const running = submit(title, options);
  const transfer = await startTransfer(lab);
  for (let change = 1; change <= sets; change++) {
    setPair(running, change);
    if (change % 20 === 0) await breathe();
    if (change % Math.floor(sets / replacements) !== 0) continue;
    const round = change / Math.floor(sets / replacements) - 1;
    await running.edit((chain) => edits[round % edits.length](chain, change + 1_000_000));
    await breathe();
  }
  const { packets, mismatches } = marks(running);
  expect(packets).toBeGreaterThan(1000);
  expect(mismatches).toBe(0);
  expect(running.description.generation).toBe(1 + replacements);
  expect([transfer.info().fallback, transfer.receiverInfo().fallback]).toEqual([false, false]);
  const { receivedBytes, sentBytes, receivedHash, sentHash } = await transfer.stop();
  expect(receivedBytes).toBeGreaterThan(0);
  expect({ receivedBytes, receivedHash }).toEqual({ receivedBytes: sentBytes, receivedHash: sentHash });
});

test("the pair tells when its halves differ", async () => {
  const running = submit("differs", {});
  const transfer = await startTransfer(lab);
  running.set("leave_mark", { value: 1 });
  await new Promise((resolve) => setTimeout(resolve, 200));
  await transfer.stop();
  expect(marks(running)["mismatches"]).toBeGreaterThan(0);
});
