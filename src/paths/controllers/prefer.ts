import { controller } from "../controller.ts";
import type { Connection, Manager } from "../types.ts";
import { MonthlyUse } from "./monthly-use.ts";
import { addressOn, interfaceOf, isStranded, isThere, leave, open } from "./pairs.ts";

export type PreferredInterface = {
  readonly name: string;
  /** Those of the lowest cost that are there carry the data; others stand by as backups. Default: its place in the list. */
  readonly cost?: number;
  /**
   * What the interface may carry in a calendar month (UTC), both ways, by its own counter: whatever passed, MPTCP or not. Once
   * that is used connections leave it, until the month is over.
   */
  readonly quotaBytes?: number;
};

export type PreferOptions = {
  /** The preferred first. Others are left as they are. */
  readonly interfaces: readonly PreferredInterface[];
  /**
   * Keeps what was used of quotas. What passes while this does not run is counted when it runs again, unless the interface or
   * the machine went away meanwhile. Without a file counting begins anew whenever this starts or is loaded again.
   */
  readonly usedFile?: string;
  /** How often is counted what was used of quotas. Default 1000. */
  readonly periodMs?: number;
};

/**
 * Interfaces in an order of preference, with what they cost and how much they may carry.
 * @throws FileError when `usedFile` cannot be read or written
 */
export const prefer = ({ interfaces, usedFile, periodMs = 1000 }: PreferOptions) => {
  const list = interfaces.map((one, place) => ({ ...one, cost: one.cost ?? place }));
  const use = new MonthlyUse(usedFile);
  const of = (name: string | undefined) => list.find((one) => one.name === name);
  const isSpent = ({ name, quotaBytes = Infinity }: PreferredInterface) => use.of(name) >= quotaBytes;

  const arrange = (connection: Connection): void => {
    const usable = list.filter((one) => !isSpent(one) && addressOn(connection, one.name));
    const cheapest = Math.min(...usable.map(({ cost }) => cost));
    for (const { name, cost } of usable) {
      const local = addressOn(connection, name)!;
      if (!isThere(connection, local.address, connection.remote)) open(connection, { local, backup: cost > cheapest });
    }
    for (const subflow of connection.subflows) {
      const one = of(interfaceOf(subflow));
      if (!one) continue;
      if (isSpent(one)) connection.removeSubflow(subflow);
      else if (subflow.backup !== one.cost > cheapest) connection.setBackup(subflow, one.cost > cheapest);
    }
  };
  let countedMs = -Infinity;
  const count = (manager: Manager): void => {
    // Each connection asks for it.
    if (performance.now() - countedMs < periodMs / 2) return;
    countedMs = performance.now();
    for (const { name, quotaBytes } of list) if (quotaBytes !== undefined) use.count(name, manager.carriedBytes(name));
  };
  const look = (connection: Connection): void => {
    try {
      count(connection.manager);
    } finally {
      arrange(connection);
    }
  };

  return controller({
    name: "prefer",
    filter: ({ serverSide }) => !serverSide,
    established(connection) {
      look(connection);
      connection.every(periodMs, () => look(connection));
    },
    subflowEstablished(subflow, connection) {
      if (isStranded(subflow)) connection.removeSubflow(subflow);
    },
    localAddressAdded(_address, manager) {
      count(manager);
      for (const one of manager.connections) if (!one.serverSide && one.established) arrange(one);
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
