import { controller } from "../controller.ts";
import type { Connection, Subflow } from "../types.ts";
import { addressOn, interfaceOf, isStranded, isThere, leave } from "./pairs.ts";

export type PreferredInterface = {
  readonly name: string;
  /** Those of the lowest cost that are there carry the data; others stand by as backups. Default: its place in the list. */
  readonly cost?: number;
  /** What all connections together may send and receive over it, counted while this runs; then it is not used any more. */
  readonly quotaBytes?: number;
};

export type PreferOptions = {
  /** The preferred first. Others are left as they are. */
  readonly interfaces: readonly PreferredInterface[];
  /** How often is counted what was used of quotas. Default 1000. */
  readonly periodMs?: number;
};

/** What a subflow carried, both ways. */
function carried(subflow: Subflow): number | undefined {
  const tcp = subflow.info()?.tcp;
  return tcp && tcp.bytesAcked + tcp.bytesReceived;
}

/** Interfaces in an order of preference, with what they cost and how much they may carry. */
export const prefer = ({ interfaces, periodMs = 1000 }: PreferOptions) => {
  const list = interfaces.map((one, place) => ({ ...one, cost: one.cost ?? place, used: 0 }));
  const counted = new WeakMap<Subflow, number>();
  const of = (name: string | undefined) => list.find((one) => one.name === name);
  const isSpent = ({ used, quotaBytes = Infinity }: (typeof list)[number]) => used >= quotaBytes;

  const arrange = (connection: Connection): void => {
    const usable = list.filter((one) => !isSpent(one) && addressOn(connection, one.name));
    const cheapest = Math.min(...usable.map(({ cost }) => cost));
    for (const { name, cost } of usable) {
      const local = addressOn(connection, name)!;
      if (!isThere(connection, local.address, connection.remote))
        connection.createSubflow({ local, backup: cost > cheapest });
    }
    for (const subflow of connection.subflows) {
      const one = of(interfaceOf(subflow));
      if (!one) continue;
      if (isSpent(one)) connection.removeSubflow(subflow);
      else if (subflow.backup !== one.cost > cheapest) connection.setBackup(subflow, one.cost > cheapest);
    }
  };
  const count = (connection: Connection): void => {
    for (const subflow of connection.subflows) {
      const one = of(interfaceOf(subflow));
      const bytes = carried(subflow);
      if (!one || bytes === undefined) continue;
      one.used += bytes - (counted.get(subflow) ?? 0);
      counted.set(subflow, bytes);
    }
    arrange(connection);
  };

  return controller({
    name: "prefer",
    filter: ({ serverSide }) => !serverSide,
    established(connection) {
      arrange(connection);
      connection.every(periodMs, () => count(connection));
    },
    subflowEstablished(subflow, connection) {
      if (isStranded(subflow)) connection.removeSubflow(subflow);
    },
    localAddressAdded(_address, { connections }) {
      for (const one of connections) if (!one.serverSide && one.established) arrange(one);
    },
    localAddressRemoved({ address }, { connections }) {
      for (const one of connections) {
        if (one.serverSide) continue;
        leave(one, address);
        arrange(one);
      }
    },
  });
};
