/** What carries out a vector of rates. */
import { ActorChain, MemberSet, PolicyChain, SelectorChain } from "../../../chain/index.ts";
import { registerInStack } from "../../../instack/index.ts";
import { Strategies } from "../../../instack/strategies.ts";
import type { PathManager } from "../../../linux/path-manager.ts";
import type { SocketAddress } from "../../../linux/sockaddr.ts";
import { emptcp } from "../../../policies/stack/index.ts";
import { rate } from "../../../policy/index.ts";
import type { Lab } from "../../lab.ts";
import { attachChain } from "../experiment.ts";

export interface SubflowRate {
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly bytesPerSecond: number;
}

export interface Executor {
  /** What the connections' sockets have to ask for. */
  readonly congestionControl: string;
  /** Makes these the only limits on the host. */
  readonly limit: (rates: readonly SubflowRate[]) => void;
}

/** The least that a rate_limit takes. */
const leastBytesPerSecond = 1000;
const atLeast = (bytesPerSecond: number): number => Math.max(leastBytesPerSecond, Math.round(bytesPerSecond));

/** `rate_limit` on a set of a host's subflows, which becomes pacing where they end. It goes with the lab. */
export function byRateLimit(lab: Lab, host: string): Executor {
  const limited = new MemberSet("subflow", { name: "limited", params: { rate }, max: 4096 });
  const actors = new ActorChain().add("rate_limit", { rate: limited.param("rate") });
  const chain = new PolicyChain(new SelectorChain().select(limited), actors);
  const { running } = attachChain(lab, host, `ecf-${host}`, chain, []);
  const members = running.members("limited");
  return {
    congestionControl: "cubic",
    limit: (rates) =>
      members.replace(
        rates.map(({ local, remote, bytesPerSecond }) => ({
          local: local.address,
          localPort: local.port,
          remote: remote.address,
          remotePort: remote.port,
          rate: 8 * atLeast(bytesPerSecond),
        })),
      ),
  };
}

let registered = 0;

/** Strategy `rate` of an actor in the stack, which is registered while the lab is open. */
export function byStrategy(lab: Lab): Executor {
  const name = `ecf${process.pid.toString(36)}x${registered++}`;
  const actor = registerInStack(emptcp, { name, base: "cubic", stays: false });
  let strategies: Strategies | undefined;
  lab.whenClosed(() => {
    strategies?.[Symbol.dispose]();
    actor.remove();
  });
  const open = (strategies = new Strategies());
  let before: readonly SubflowRate[] = [];
  return {
    congestionControl: name,
    limit: (rates) => {
      for (const target of before) if (!rates.some((one) => isSame(one, target))) open.remove(target);
      for (const { local, remote, bytesPerSecond } of rates)
        open.set({ local, remote }, { kind: "rate", rateBytesPerSecond: atLeast(bytesPerSecond) });
      before = rates;
    },
  };
}

const isSame = (one: SubflowRate, other: SubflowRate): boolean =>
  one.local.address === other.local.address &&
  one.local.port === other.local.port &&
  one.remote.address === other.remote.address &&
  one.remote.port === other.remote.port;

/**
 * Rate 0 for the subflows from an address: pacing cannot say it, since the scheduler hands an idle subflow 64 KiB however slowly
 * it is paced. A backup is left alone while another path is there; the kernel tells the peer so (MP_PRIO).
 */
export function leaveOut(paths: PathManager, address: string, out: boolean): void {
  const endpoint = paths.endpoints().find((one) => one.address === address);
  if (endpoint === undefined)
    throw new Error(`Cannot leave out the path from ${address}: it is no endpoint of its host`);
  const flags = endpoint.flags.filter((flag) => flag !== "backup");
  paths.setFlags(endpoint.id, out ? [...flags, "backup"] : flags);
}
