/** Strategies that congestion control in the stack follows, read and written from outside it. */
import { openSharedState } from "../chain/host-state.ts";
import { encodeFlowKey, readFlows, readTable, writeInteger } from "../chain/state.ts";
import type { StateSlot } from "../compiler/layout.ts";
import {
  dumpTcpSockets,
  inEveryNetns,
  KernelError,
  type KernelMap,
  type SocketAddress,
  type TcpSocket,
} from "../linux/index.ts";
import { congestionStrategies, coupling, strategy, subflowStrategies } from "../policies/strategies.ts";
import { InStackError } from "./errors.ts";

/** Whom a strategy is for: all subflows of a connection, by this host's token, or one subflow, which goes first. */
export type StrategyTarget =
  { readonly token: number } | { readonly local: SocketAddress; readonly remote: SocketAddress };

export type Strategy =
  | { readonly kind: "none" }
  | { readonly kind: "window"; readonly windowBytes: number }
  | { readonly kind: "rate"; readonly rateBytesPerSecond: number }
  /** Bytes granted since the subflow began. */
  | { readonly kind: "credit"; readonly creditBytes: number }
  | { readonly kind: "weight"; readonly weight: number }
  | { readonly kind: "coupled"; readonly algorithm: keyof typeof coupling };

export interface StrategyRecord {
  readonly target: StrategyTarget;
  readonly strategy: Strategy;
}

export const strategyKinds = Object.keys(strategy) as Strategy["kind"][];

/** What says how much, by kind; none of them is ever 0 in a strategy that counts. */
const amounts = {
  none: undefined,
  window: "windowBytes",
  rate: "rateBytesPerSecond",
  credit: "creditBytes",
  weight: "weight",
  coupled: "algorithm",
} as const satisfies Record<Strategy["kind"], string | undefined>;

/** The strategies of this host. Both maps are there as long as something uses them. */
export class Strategies implements Disposable {
  readonly #tables: { readonly tokens?: StrategyTable; readonly flows?: StrategyTable };

  /** @throws InStackError when nothing on this host follows strategies */
  constructor() {
    const [tokens, flows] = [congestionStrategies, subflowStrategies].map(({ host }) => openSharedState(host!));
    if (!tokens && !flows)
      throw new InStackError(
        "Cannot find strategies: nothing on this host follows any. emptcp stack start registers what does",
      );
    this.#tables = { ...(tokens && { tokens }), ...(flows && { flows }) };
  }

  /** All that are set, those of connections first. Records without a strategy are left out. */
  list(): StrategyRecord[] {
    return this.#records().filter(({ strategy: { kind } }) => kind !== "none");
  }

  /**
   * Sets a strategy, in the place of one that is there; whoever has claimed the record may still write another one.
   * @throws InStackError for nonsense: amounts that are not positive integers, kinds that a connection as a whole has not
   */
  set(target: StrategyTarget, wanted: Strategy): void {
    const { slot, map } = this.#tableOf(target);
    const fields = encodeStrategy(wanted, slot, target);
    const key = keyOf(target);
    const record = map.lookup(key) ?? new Uint8Array(slot.size);
    try {
      // The kind last: programs read without a lock, and what they find must never be the kind without its amount.
      for (const [name, value] of fields) {
        const field = slot.fields.find((one) => one.name === name)!;
        if (typeof field.type !== "object") writeInteger(record, field.type, field.offset, value);
        map.update(key, record, "locked");
      }
    } catch (error) {
      if (!(error instanceof KernelError && error.code === "E2BIG")) throw error;
      throw new InStackError(
        `Cannot set a strategy for ${showTarget(target)}: there are ${slot.maxEntries} already. ` +
          "emptcp clean removes those of connections that are gone",
        { cause: error },
      );
    }
  }

  /** Takes a strategy back. False when there was none. */
  remove(target: StrategyTarget): boolean {
    return this.#tableOf(target).map.delete(keyOf(target));
  }

  /** Strategies for connections and subflows that this host no longer has. */
  stale(): StrategyRecord[] {
    // Strategies first: what is set for a connection that begins meanwhile has a socket by then.
    const found = this.#records();
    const alive = new Set(inEveryNetns(() => dumpTcpSockets().flatMap(namesOf)).flat());
    return found.filter(({ target }) => !alive.has(showTarget(target)));
  }

  #records(): StrategyRecord[] {
    const { tokens, flows } = this.#tables;
    const ofTokens = tokens ? readTable(tokens.map, tokens.slot) : [];
    const ofFlows = flows ? readFlows(flows.map, flows.slot) : [];
    return [
      ...ofTokens.map(({ key, fields }) => ({ target: { token: key }, strategy: readStrategy(fields) })),
      ...ofFlows.map(({ local, localPort, remote, remotePort, fields }) => ({
        target: { local: { address: local, port: localPort }, remote: { address: remote, port: remotePort } },
        strategy: readStrategy(fields),
      })),
    ];
  }

  [Symbol.dispose](): void {
    this.#tables.tokens?.map.close();
    this.#tables.flows?.map.close();
  }

  #tableOf(target: StrategyTarget): StrategyTable {
    const table = "token" in target ? this.#tables.tokens : this.#tables.flows;
    if (table) return table;
    throw new InStackError(
      `Cannot reach strategies for ${"token" in target ? "connections" : "subflows"}: nothing on this host follows any. ` +
        "emptcp stack start registers what does",
    );
  }
}

interface StrategyTable {
  readonly map: KernelMap;
  readonly slot: StateSlot;
}

const showEnd = ({ address, port }: SocketAddress): string =>
  address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;

/** `token 1a2b3c4d`, or `10.0.0.1:4000 > 10.0.0.2:80`. */
export function showTarget(target: StrategyTarget): string {
  if ("token" in target) return `token ${target.token.toString(16).padStart(8, "0")}`;
  return `${showEnd(target.local)} > ${showEnd(target.remote)}`;
}

/** What a socket may be called in strategies. */
function namesOf({ local, remote, mptcp, state }: TcpSocket): string[] {
  if (state === "listen" || state === "time-wait") return [];
  return [showTarget({ local, remote }), ...(mptcp ? [showTarget({ token: mptcp.tokenLocal })] : [])];
}

function keyOf(target: StrategyTarget): Uint8Array {
  if (!("token" in target)) return encodeFlowKey(target.local, target.remote);
  return new Uint8Array(Uint32Array.of(target.token).buffer);
}

function readStrategy(fields: Readonly<Record<string, number>>): Strategy {
  const kind = strategyKinds.find((one) => strategy[one] === fields["kind"]) ?? "none";
  const amount = amounts[kind];
  if (amount === undefined || !fields[amount]) return { kind: "none" };
  if (kind !== "coupled") return { kind, [amount]: fields[amount] } as unknown as Strategy;
  const algorithm = algorithms.find((one) => coupling[one] === fields[amount]);
  return algorithm === undefined ? { kind: "none" } : { kind, algorithm };
}

const algorithms = Object.keys(coupling) as (keyof typeof coupling)[];

/** The fields to write, in order. @throws InStackError */
function encodeStrategy(wanted: Strategy, slot: StateSlot, target: StrategyTarget): [name: string, value: bigint][] {
  const wrong = (reason: string): never => {
    throw new InStackError(`Cannot set a strategy for ${showTarget(target)}: ${reason}`);
  };
  if (!strategyKinds.includes(wanted.kind))
    return wrong(`there is no kind ${wanted.kind as string}; there are ${strategyKinds.join(", ")}`);
  const amount = amounts[wanted.kind];
  const kind: [string, bigint] = ["kind", BigInt(strategy[wanted.kind])];
  if (amount === undefined) return [kind];
  const field = slot.fields.find(({ name }) => name === amount);
  if (!field) return wrong(`${wanted.kind} is for single subflows only; name one by its addresses and ports`);
  const given = (wanted as unknown as Readonly<Record<string, unknown>>)[amount];
  if (amount === "algorithm") {
    const number = coupling[given as keyof typeof coupling];
    if (number === undefined)
      return wrong(`there is no algorithm ${given as string}; there are ${algorithms.join(", ")}`);
    return [[amount, BigInt(number)], kind];
  }
  const most = field.type === "u64" ? Number.MAX_SAFE_INTEGER : 0xffff_ffff;
  if (!Number.isInteger(given) || Number(given) < 1 || Number(given) > most)
    return wrong(`${amount} must be an integer from 1 to ${most}, not ${String(given)}`);
  return [[amount, BigInt(given as number)], kind];
}
