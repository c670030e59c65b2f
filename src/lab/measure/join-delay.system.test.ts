import { afterAll, beforeAll, expect, test } from "vitest";
import { runControllers } from "../../paths/run.ts";
import { controller } from "../../paths/controller.ts";
import { createLab, type Lab } from "../lab.ts";
import {
  joinDelayLab,
  measureJoinDelays,
  secondAddress,
  startPathManager,
  type PathManagerChoice,
} from "./join-delay.ts";

let lab: Lab;
beforeAll(async () => {
  lab = await createLab(joinDelayLab);
});
afterAll(async () => await lab.close());

const few = { count: 10, perSecond: 50 };

const choices: readonly PathManagerChoice[] = [
  { kind: "kernel", addresses: [secondAddress] },
  { kind: "controllers", controllers: [{ name: "subflowFrom", options: { address: secondAddress } }] },
];

test.each(choices)("measureJoinDelays() finds the second subflow of every connection: $kind", async (choice) => {
  const manager = await startPathManager(lab, "client", choice);
  const { delays, ...counts } = await measureJoinDelays(lab, few);
  manager.check();
  expect(counts).toMatchObject({ answered: 10, connections: 10, missed: 0, droppedPackets: 0 });
  for (const { sinceSynUs, sinceEstablishedUs, sinceAcknowledgedUs } of delays) {
    expect(sinceAcknowledgedUs).toBeGreaterThan(0);
    expect(sinceEstablishedUs).toBeGreaterThan(sinceAcknowledgedUs!);
    expect(sinceSynUs).toBeGreaterThan(sinceEstablishedUs);
  }
  await manager.stop();
});

test("measureJoinDelays() tells connections that got no second subflow from those whose controller runs in the caller", async () => {
  const manager = await startPathManager(lab, "client", { kind: "caller" });
  let established = 0;
  const everyOther = controller({
    name: "everyOther",
    established: (connection) => {
      if (established++ % 2 === 0) connection.createSubflow({ local: { address: secondAddress } });
    },
  });
  using _run = await runControllers([everyOther], { netns: lab.host("client").netns });
  const { connections, missed } = await measureJoinDelays(lab, { ...few, patienceMs: 1000 });
  expect({ connections, missed }).toEqual({ connections: 10, missed: 5 });
  await manager.stop();
});

test("startPathManager() says why a program does not manage paths", async () => {
  const choice: PathManagerChoice = { kind: "command", command: ["sh", "-c", "echo no such plugin >&2; exit 3"] };
  await expect(startPathManager(lab, "client", choice)).rejects.toThrow(/sh.*exit code 3.*no such plugin/);
});
