/** What is compared: who decides over five subflows between the same two addresses. */
import { fillUp } from "../../../paths/controllers/pairs.ts";
import { controller, ndiffports, refresh, type Controller, type Subflow } from "../../../paths/index.ts";

export const sides = ["ndiffports", "at-once", "refresh"] as const;
export type Side = (typeof sides)[number];

export const sideNames: Readonly<Record<Side, string>> = {
  ndiffports: "ndiffports",
  "at-once": "refresh as in the paper",
  refresh: "refresh",
};

export const subflows = 5;

const rateOf = (one: Subflow) => one.info()?.tcp?.pacingRateBytesPerSecond ?? 0;

/** The paper's rule to the letter: by `pacing_rate`, and the slowest is closed before its successor is opened. */
const closeAtOnce = (periodMs: number): Controller =>
  controller({
    name: "close-at-once",
    filter: ({ serverSide }) => !serverSide,
    established(connection) {
      fillUp(connection, subflows);
      connection.every(periodMs, () => {
        const [slowest] = connection.subflows.toSorted((a, b) => rateOf(a) - rateOf(b));
        if (connection.subflows.length >= subflows) connection.removeSubflow(slowest);
        fillUp(connection, subflows);
      });
    },
  });

export function controllerOf(side: Side, periodMs: number): Controller {
  if (side === "ndiffports") return ndiffports({ subflows });
  return side === "refresh" ? refresh({ subflows, periodMs }) : closeAtOnce(periodMs);
}
