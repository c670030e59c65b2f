import { controller } from "../controller.ts";
import type { Connection, Subflow } from "../types.ts";
import { fillUp } from "./pairs.ts";

export type RefreshOptions = {
  /** Of each connection, the first one included. Default 5. */
  readonly subflows?: number;
  /** How often the slowest is replaced. Default 2500. */
  readonly periodMs?: number;
};

const pacingRate = (subflow: Subflow): number => subflow.info()?.tcp?.pacingRateBytesPerSecond ?? 0;

/**
 * Several subflows between the same two addresses, the slowest of which, by its pacing rate, is replaced again and again by one
 * from another port: in the end all paths that routers spread flows over are in use (section 4.4 of the SMAPP paper).
 */
export const refresh = ({ subflows = 5, periodMs = 2500 }: RefreshOptions = {}) => {
  const replaceSlowest = (connection: Connection): void => {
    // Those on the way would be closed before they had a chance.
    if (connection.subflows.length >= subflows) {
      const rates = connection.subflows.map((one) => ({ one, rate: pacingRate(one) }));
      connection.removeSubflow(rates.reduce((slowest, next) => (next.rate < slowest.rate ? next : slowest)).one);
    }
    fillUp(connection, subflows);
  };
  return controller({
    name: "refresh",
    filter: ({ serverSide }) => !serverSide,
    established(connection) {
      fillUp(connection, subflows);
      connection.every(periodMs, () => replaceSlowest(connection));
    },
  });
};
