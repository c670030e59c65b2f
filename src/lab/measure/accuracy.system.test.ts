import { afterEach, expect, test } from "vitest";
import { createLab, type Lab } from "../lab.ts";
import { wifiAndLte, type LabSpec } from "../spec.ts";
import { formatAccuracy, measureLab } from "./accuracy.ts";

let lab: Lab | undefined;
afterEach(async () => {
  await lab?.close();
});

const hosts: LabSpec["hosts"] = { client: {}, server: {} };

test.each([
  ["the usual two links", wifiAndLte],
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
  const rows = await measureLab(lab);
  expect(
    rows.every((row) => row.ok),
    `\n${formatAccuracy(rows)}`,
  ).toBe(true);
});
