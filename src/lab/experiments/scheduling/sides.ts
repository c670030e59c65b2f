/** What decides which path data takes, and where: two pairs of hosts, each joined by a fast path and a slow one. */
import type { Lab } from "../../lab.ts";
import type { LabSpec } from "../../spec.ts";
import { bulk } from "../../workload/transfer.ts";
import { Controller, type ControllerCost } from "./controller.ts";
import { byRateLimit, byStrategy, type Executor } from "./executors.ts";

export const sides = ["default", "rate_limit", "in-stack"] as const;
export type Side = (typeof sides)[number];
export const sideNames: Readonly<Record<Side, string>> = {
  default: "the kernel's scheduler alone",
  rate_limit: "rates by rate_limit",
  "in-stack": "rates in the stack",
};

/** A pair of paths; the round trips are the paper's. */
export interface Pair {
  readonly client: string;
  readonly server: string;
  readonly fast: string;
  readonly slow: string;
  readonly mbit: readonly [fast: number, slow: number];
}
export const pairs = {
  wide: { client: "wideclient", server: "wideserver", fast: "widefast", slow: "wideslow", mbit: [40, 10] },
  thin: { client: "thinclient", server: "thinserver", fast: "thinfast", slow: "thinslow", mbit: [20, 2] },
} as const satisfies Readonly<Record<string, Pair>>;
export const rttMs = [20, 50] as const;

export const schedulingLab: LabSpec = {
  hosts: Object.fromEntries(
    Object.values(pairs).flatMap(({ client, server }) => [
      [client, {}],
      [server, { endpoints: "signal" as const }],
    ]),
  ),
  links: Object.values(pairs).flatMap(({ client, server, fast, slow, mbit }) =>
    [fast, slow].map((name, i) => ({
      name,
      between: [client, server] as const,
      rateMbit: mbit[i],
      rttMs: rttMs[i],
    })),
  ),
};

export type Executors = Readonly<Record<Exclude<Side, "default">, (pair: Pair) => Executor>>;

/** What carries out rates on both servers, while the lab is open. @throws InStackError, KernelError */
export function openExecutors(lab: Lab): Executors {
  const inStack = byStrategy(lab);
  const limits = new Map(Object.values(pairs).map(({ server }) => [server as string, byRateLimit(lab, server)]));
  return { rate_limit: ({ server }) => limits.get(server)!, "in-stack": () => inStack };
}

/** Measures with a side in force on the sender, which for `acquaintSeconds` before sees the paths at work. */
export async function withSide<T>(
  lab: Lab,
  executors: Executors,
  pair: Pair,
  side: Side,
  measure: (congestionControl: string) => Promise<T>,
  acquaintSeconds = 0,
): Promise<{ readonly value: T; readonly cost?: ControllerCost }> {
  const { client, server, fast } = pair;
  const become = (congestionControl: string) =>
    acquaintSeconds > 0
      ? bulk(lab, { client, server, link: fast, congestionControl, seconds: acquaintSeconds })
      : Promise.resolve();
  if (side === "default") {
    await become("cubic");
    return { value: await measure("cubic") };
  }
  const executor = executors[side](pair);
  const controller = new Controller(lab, server, executor);
  try {
    await become(executor.congestionControl);
    return { value: await measure(executor.congestionControl), cost: controller.cost };
  } finally {
    controller.close();
  }
}
