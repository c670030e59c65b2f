import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { createLab, type Lab } from "../lab.ts";
import { wifiAndLte, type LabSpec } from "../spec.ts";
import { formatAccuracy, measureLab, type AccuracyRow } from "./accuracy.ts";
import { flood } from "./flood.ts";
import { median, ping } from "./ping.ts";
import { runQuiet } from "./steal.ts";

let lab: Lab | undefined;
afterEach(async () => {
  await lab?.close();
});

const hosts: LabSpec["hosts"] = { client: {}, server: {} };

/** What is allowed is for a machine that has nothing else to do; a lab that does another thing is further away. */
const isFar = ({ measured, asked, tolerance }: AccuracyRow): boolean => Math.abs(measured - asked) > 3 * tolerance;

test.each([
  ["a usual link", { hosts, links: wifiAndLte.links.slice(0, 1) }],
  [
    "different directions, jitter and loss",
    {
      hosts,
      links: [
        {
          name: "dsl",
          between: ["client", "server"],
          rateMbit: 100,
          forward: { rateMbit: 5, delayMs: 12 },
          backward: { delayMs: 3, jitterMs: 2, lossPercent: 5 },
        },
      ],
    },
  ],
] satisfies [string, LabSpec][])("measureLab() finds what was asked: %s", async (_, spec) => {
  lab = await createLab(spec);
  const rows = await measureLab(lab, { maxLossSeconds: 2 });
  expect(rows.length).toBeGreaterThan(4);
  expect(rows.some(isFar), `\n${formatAccuracy(rows)}`).toBe(false);
});

test("a full queue delays by what it was asked to hold", async () => {
  lab = await createLab({ ...wifiAndLte, links: [{ ...wifiAndLte.links[0], queueMs: 80 }] });
  const [link] = lab.links;
  const running = lab;
  const { value } = await runQuiet(async () => {
    const packetsPerSecond = 4000;
    const flooding = flood(running, { link, direction: "forward", frameBytes: 1514, packetsPerSecond, packets: 6000 });
    await sleep(400);
    const { rttsMs } = await ping(running, { from: "client", to: "server", link: "wifi", count: 40, intervalMs: 20 });
    await flooding;
    return median(rttsMs);
  });
  // 20 ms of delay and 80 ms of queue, of which some room is empty when a ping gets in.
  expect(value).toBeGreaterThan(85);
  expect(value).toBeLessThan(120);
});
