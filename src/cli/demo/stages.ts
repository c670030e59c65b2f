/** The stages of the demo: what each asks for, and how it is seen in the packets whether it held. */
import { ActorChain, PolicyChain, SelectorChain, type RunningChain } from "../../chain/index.ts";
import { readMptcpCounters, type Transfer, type TransferResult } from "../../lab/index.ts";
import { formatBytes, formatMbit } from "../table.ts";
import { onceLong } from "./controller.ts";
import { measureSettled, type Goodput } from "./paths.ts";
import type { Session } from "./session.ts";

/** What the packets showed. */
export interface Outcome {
  readonly measured: string;
  readonly ok: boolean;
}

export interface Stage {
  readonly name: string;
  readonly asked: string;
  readonly run: (session: Session) => Promise<Outcome>;
}

const wifiMbit = 40;
const lteMbit = 20;
const sumMbit = wifiMbit + lteMbit;
/** Headers, and what the slower path costs the faster one. */
const nearly = 0.8;

const rampUpSeconds = 1.5;
const settleSeconds = 2;
const measureSeconds = 2.5;

/** `55.1 Mbit/s (wifi 37.2, lte 17.9)`. */
function describeGoodput({ total, paths }: Goodput): string {
  const each = Object.entries(paths).map(([link, mbit]) => `${link} ${mbit.toFixed(1)}`);
  return `${formatMbit(total)} (${each.join(", ")})`;
}

function describeDelivery({ ok, receivedBytes, sentBytes, sentHash }: TransferResult): string {
  if (ok) return `${formatBytes(sentBytes)} sent and received, SHA-256 ${sentHash.slice(0, 12)}… at both ends`;
  return sentBytes === receivedBytes
    ? "what arrived is not what was sent"
    : `${sentBytes} bytes sent, ${receivedBytes} received`;
}

const lteShareOf = ({ total, paths }: Goodput): number => (paths["lte"] ?? 0) / total;

function isNear(mbit: number, wanted: number, tolerance: number): boolean {
  return Math.abs(mbit - wanted) <= tolerance * wanted;
}

/** Both ends still speak MPTCP. */
function isMptcp(transfer: Transfer): boolean {
  return !transfer.info().fallback && !transfer.receiverInfo().fallback;
}

/** Watches for a while and judges what it carried. */
async function judge(
  session: Session,
  holds: (goodput: Goodput) => boolean,
  describe: (goodput: Goodput) => string = describeGoodput,
): Promise<Outcome> {
  return await measureSettled(async () => {
    const goodput = await session.watch(measureSeconds);
    return { measured: describe(goodput), ok: holds(goodput) };
  });
}

/** A limit on the wifi subflow of the running connection, as the server sees it. */
function paceWifi({ lab, transfer }: Session, mbit: number): PolicyChain {
  const address = lab.host("server").interfaces.find(({ link }) => link === "wifi")!.ipv4;
  const wifi = transfer.info().subflows.find(({ local }) => local.address === address);
  if (!wifi) throw new Error("Cannot limit the wifi subflow: it is gone");
  const { local, remote } = wifi;
  const selectors = new SelectorChain().select("subflow", {
    local: local.address,
    localPort: local.port,
    remote: remote.address,
    remotePort: remote.port,
  });
  return new PolicyChain(selectors, new ActorChain().add("rate_limit", { rate: `${mbit}mbit` }));
}

function wifiIsLimitedTo(mbit: number): (goodput: Goodput) => boolean {
  return ({ paths }) => isNear(paths["wifi"] ?? 0, mbit, 0.15) && (paths["lte"] ?? 0) >= nearly * lteMbit;
}

/** The stages in order; what one leaves behind is where the next one starts. */
export function makeStages(): readonly Stage[] {
  let blocking: RunningChain;
  let limiting: RunningChain;
  let pacing: RunningChain;
  let weighing: readonly RunningChain[];

  const noChain: Stage = {
    name: "no chain",
    asked: `two subflows, goodput near the sum of ${sumMbit} Mbit/s`,
    async run(session) {
      const transfer = await session.connect();
      const subflows = await session.subflowsWithin(settleSeconds, 2);
      await session.watch(rampUpSeconds);
      const { measured, ok } = await judge(session, ({ total }) => total >= nearly * sumMbit);
      const result = await transfer.stop();
      return {
        measured: `${subflows} subflows, ${measured}; ${describeDelivery(result)}`,
        ok: ok && subflows === 2 && result.ok,
      };
    },
  };

  const block: Stage = {
    name: "blk_subflow",
    asked: "on the client before the next connection: no ADD_ADDR reaches it, one subflow, still MPTCP",
    async run(session) {
      const announced = () => readMptcpCounters(session.lab, "client")["AddAddr"] ?? 0;
      const before = announced();
      const chain = new PolicyChain(new SelectorChain(), new ActorChain().add("blk_subflow"));
      blocking = session.submit(chain, "client", "blk_subflow");
      const transfer = await session.connect();
      await session.watch(rampUpSeconds);
      const { measured, ok } = await judge(session, ({ total }) => total >= nearly * wifiMbit && total <= wifiMbit);
      const subflows = transfer.info().subflows.length;
      const reached = announced() - before;
      const { acted } = blocking.counters().actors[0];
      const mptcp = isMptcp(transfer);
      return {
        measured:
          `ADD_ADDR: ${acted} filtered, ${reached} reached the client; ` +
          `${subflows} ${subflows === 1 ? "subflow" : "subflows"} of ${mptcp ? "MPTCP" : "plain TCP"}, ${measured}`,
        ok: ok && reached === 0 && acted > 0 && subflows === 1 && mptcp,
      };
    },
  };

  const restore: Stage = {
    name: "add_subflow",
    asked:
      "in its place, while the connection runs: the kept ADD_ADDR arrives after all, and brings the second subflow",
    async run(session) {
      await blocking.edit(({ actors }) => actors.replace("blk_subflow", "add_subflow"));
      const subflows = await session.subflowsWithin(settleSeconds, 2);
      await session.watch(rampUpSeconds);
      const { measured, ok } = await judge(session, ({ total }) => total >= nearly * sumMbit);
      const mptcp = isMptcp(session.transfer);
      session.remove(blocking);
      return { measured: `${subflows} subflows, ${measured}`, ok: ok && subflows === 2 && mptcp };
    },
  };

  const backUp: Stage = {
    name: "set_backup",
    asked: "lte as a backup: wifi carries all, one MP_PRIO is enough; the connection ends unbroken",
    async run(session) {
      const received = () => readMptcpCounters(session.lab, "server")["MPPrioRx"] ?? 0;
      const before = received();
      const lte = session.lab.host("server").interfaces.find(({ link }) => link === "lte")!.ipv4;
      const selectors = new SelectorChain().select("src", { prefix: lte }).or("dst", { prefix: lte });
      const backup = session.submit(
        new PolicyChain(selectors, new ActorChain().add("set_backup", { backup: true })),
        "server",
        "set_backup",
      );
      await session.watch(settleSeconds);
      const { measured, ok } = await judge(
        session,
        ({ paths }) => (paths["lte"] ?? 0) < 1 && (paths["wifi"] ?? 0) >= nearly * wifiMbit,
      );
      const priorities = received() - before;
      session.remove(backup);
      const result = await session.transfer.stop();
      await session.connect();
      await session.subflowsWithin(settleSeconds, 2);
      await session.watch(rampUpSeconds);
      return {
        measured: `${measured}; ${priorities} MP_PRIO received; ${describeDelivery(result)}`,
        ok: ok && priorities === 1 && result.ok,
      };
    },
  };

  const limitMbit = 10;
  const limit: Stage = {
    name: "rate_limit, whole connection",
    asked: `${limitMbit} Mbit/s for the running connection, by the receive window in its ACKs (± 20 %)`,
    async run(session) {
      const actors = new ActorChain().add("rate_limit", { rate: `${limitMbit}mbit` });
      limiting = session.submit(new PolicyChain(new SelectorChain(), actors), "server", "rate_limit");
      await session.watch(settleSeconds);
      const { measured, ok } = await judge(session, ({ total }) => isNear(total, limitMbit, 0.2));
      const { acted } = limiting.counters().actors[0];
      const windows = limiting.flows("rate_limit").map(({ fields }) => fields["window"] ?? 0);
      return {
        measured: `${measured}; window lowered to ${formatBytes(Math.max(...windows))} at the end, in ${acted} ACKs`,
        ok: ok && acted > 0,
      };
    },
  };

  const otherMbit = 5;
  const pace: Stage = {
    name: "rate_limit, one subflow",
    asked: `${limitMbit} Mbit/s for the wifi subflow alone, then ${otherMbit} while it runs (± 15 %); lte carries the rest`,
    async run(session) {
      session.remove(limiting);
      pacing = session.submit(paceWifi(session, limitMbit), "server", "pace");
      await session.watch(settleSeconds);
      const first = await judge(session, wifiIsLimitedTo(limitMbit));
      pacing.set("pace", { rate: `${otherMbit}mbit` });
      await session.watch(rampUpSeconds);
      const second = await judge(session, wifiIsLimitedTo(otherMbit));
      return { measured: `${first.measured}, then ${second.measured}`, ok: first.ok && second.ok };
    },
  };

  const lteShare = 0.7;
  const weigh: Stage = {
    name: "stack_weight, in the stack",
    asked: `of the running connection ${100 * lteShare} % over lte, though wifi is twice as fast: congestion control that knows its siblings (± 4 %)`,
    async run(session) {
      session.remove(pacing);
      const control = session.registerInStack();
      weighing = [
        ["wifi", 100 - 100 * lteShare],
        ["lte", 100 * lteShare],
      ].map(([link, weight]) => {
        const prefix = session.lab.host("server").interfaces.find((one) => one.link === link)!.ipv4;
        const actors = new ActorChain().add("stack_weight", { weight, control });
        return session.submit(
          new PolicyChain(new SelectorChain().select("src", { prefix }), actors),
          "server",
          `weigh-${link}`,
        );
      });
      await session.watch(2 * settleSeconds);
      return await judge(
        session,
        (goodput) =>
          Math.abs(lteShareOf(goodput) - lteShare) <= 0.04 && (goodput.paths["lte"] ?? 0) >= nearly * lteMbit,
        (goodput) => `${describeGoodput(goodput)}: ${(100 * lteShareOf(goodput)).toFixed(0)} % over lte`,
      );
    },
  };

  const back: Stage = {
    name: "everything removed",
    asked: `back to the start: two subflows, near ${sumMbit} Mbit/s, every byte delivered`,
    async run(session) {
      for (const chain of weighing) session.remove(chain);
      await session.watch(settleSeconds);
      const { measured, ok } = await judge(session, ({ total }) => total >= nearly * sumMbit);
      const subflows = session.transfer.info().subflows.length;
      const result = await session.transfer.stop();
      return {
        measured: `${subflows} subflows, ${measured}; ${describeDelivery(result)}`,
        ok: ok && subflows === 2 && result.ok,
      };
    },
  };

  const longBytes = 10_000_000;
  const control: Stage = {
    name: "a subflow controller",
    asked: `paths in user space's hands: lte only for connections that have brought ${formatBytes(longBytes)}`,
    async run(session) {
      const lte = session.lab.host("client").interfaces.find(({ link }) => link === "lte")!.ipv4;
      await session.control("client", onceLong(lte, longBytes));
      const transfer = await session.connect();
      const alone = await session.bytesUntilSubflows(2, 3 * longBytes);
      await session.watch(rampUpSeconds);
      const subflows = transfer.info().subflows.length;
      const { measured, ok } = await judge(session, ({ total }) => total >= nearly * sumMbit);
      const result = await transfer.stop();
      return {
        measured: `one subflow up to ${formatBytes(alone)}, then ${subflows}, ${measured}; ${describeDelivery(result)}`,
        ok: ok && subflows === 2 && alone >= nearly * longBytes && result.ok,
      };
    },
  };

  return [noChain, block, restore, backUp, limit, pace, weigh, back, control];
}
