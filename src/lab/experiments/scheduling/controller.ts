/** The loop of the scheduler: sees every connection of a host, decides, has it carried out; each 100 ms. */
import { SocketReader, type TcpSocket } from "../../../linux/diag.ts";
import { InterruptedDumpError } from "../../../linux/netlink.ts";
import { PathManager } from "../../../linux/path-manager.ts";
import type { Lab } from "../../lab.ts";
import { Capacity } from "./capacity.ts";
import { ecfRates } from "./ecf.ts";
import { leaveOut, type Executor, type SubflowRate } from "./executors.ts";

const intervalMs = 100;
/** A path is used without limits until it has been seen at work so often, */
const acquaintance = 10;
/** and again for a while from time to time: it may carry more by now. */
const probing = { every: 25, during: 2 };
/** Less than this share of a change in a rate is not worth a change in the kernel. */
const noticeable = 0.05;

/** What is between two addresses. */
interface Path {
  readonly capacity: Capacity;
  observations: number;
  isOut: boolean;
}

interface Subflow {
  readonly socket: TcpSocket;
  readonly path: Path;
}

export interface ControllerCost {
  readonly decisions: number;
  /** Mean time of one. */
  readonly msPerDecision: number;
}

export class Controller {
  readonly #sockets: SocketReader;
  readonly #pathManager: PathManager;
  readonly #executor: Executor;
  readonly #timer: NodeJS.Timeout;
  readonly #forget: () => void;
  /** By the host's own address: that is what a path is to the kernel. */
  readonly #paths = new Map<string, Path>();
  /** What each subflow had delivered. */
  #delivered = new Map<string, number>();
  #limits: readonly SubflowRate[] = [];
  #lastMs = performance.now();
  #decisions = 0;
  #spentMs = 0;
  #failure: unknown;

  constructor(lab: Lab, host: string, executor: Executor) {
    const netns = lab.netnsOf(host);
    this.#sockets = new SocketReader(netns);
    this.#pathManager = new PathManager({ netns });
    this.#executor = executor;
    this.#timer = setInterval(() => this.#run(), intervalMs);
    this.#forget = lab.whenClosed(() => clearInterval(this.#timer));
  }

  /** What it took so far. @throws what ended the loop before its time */
  get cost(): ControllerCost {
    if (this.#failure !== undefined) throw this.#failure;
    return { decisions: this.#decisions, msPerDecision: this.#spentMs / Math.max(1, this.#decisions) };
  }

  /** Paths are free again. */
  close(): void {
    clearInterval(this.#timer);
    this.#forget();
    this.#executor.limit([]);
    for (const [address, path] of this.#paths) if (path.isOut) leaveOut(this.#pathManager, address, false);
    this.#pathManager[Symbol.dispose]();
    this.#sockets.close();
  }

  #run(): void {
    const startedAt = performance.now();
    try {
      this.#decide();
    } catch (error) {
      // Sockets came and went faster than they could be listed: next time.
      if (error instanceof InterruptedDumpError) return;
      clearInterval(this.#timer);
      this.#failure = error;
      return;
    }
    this.#decisions++;
    this.#spentMs += performance.now() - startedAt;
  }

  #decide(): void {
    const sockets = this.#sockets.tcp().filter(isSubflow);
    // Asked for one by one: a list of MPTCP sockets is a walk over all of the machine's, which takes milliseconds.
    const tokens = new Set(sockets.map(({ mptcp }) => mptcp!.tokenLocal));
    const unacked = new Map(
      [...tokens].map((token) => [token, this.#sockets.mptcpByToken(token)?.info.unackedBytes ?? 0]),
    );
    const subflows = sockets.map((socket): Subflow => ({ socket, path: this.#pathOf(socket.local.address) }));
    this.#observe(subflows);
    const busy = subflows.filter(({ socket }) => (unacked.get(socket.mptcp!.tokenLocal) ?? 0) > 0);
    if (busy.length === 0) return;
    const users = new Map([...groupBy(busy, ({ path }) => path)].map(([path, all]) => [path, all.length]));
    const rates: SubflowRate[] = [];
    for (const [token, own] of groupBy(busy, ({ socket }) => socket.mptcp!.tokenLocal)) {
      const window = Math.max(...own.map(({ socket }) => socket.tcp!.sndWndBytes));
      const k = Math.min(unacked.get(token)!, window);
      const vector = ecfRates(
        k,
        own.map(({ socket, path }) => ({
          rttUs: socket.tcp!.rttUs,
          bytesPerSecond: path.capacity.bytesPerSecond / users.get(path)!,
        })),
      );
      own.forEach(({ socket: { local, remote }, path }, i) => {
        rates.push({ local, remote, bytesPerSecond: isFree(path) ? Infinity : vector[i] });
      });
    }
    this.#carryOut(rates);
  }

  #pathOf(address: string): Path {
    const path = this.#paths.get(address) ?? { capacity: new Capacity(), observations: 0, isOut: false };
    this.#paths.set(address, path);
    return path;
  }

  /** What the paths in use delivered since the last time. */
  #observe(subflows: readonly Subflow[]): void {
    const nowMs = performance.now();
    const seconds = (nowMs - this.#lastMs) / 1000;
    this.#lastMs = nowMs;
    const before = this.#delivered;
    this.#delivered = new Map(subflows.map(({ socket }) => [nameOf(socket), socket.tcp!.bytesAcked]));
    for (const [path, all] of groupBy(subflows, (one) => one.path)) {
      const bytes = sum(all.map(({ socket }) => socket.tcp!.bytesAcked - (before.get(nameOf(socket)) ?? 0)));
      if (bytes > 0 || path.isOut) path.observations++;
      if (bytes === 0 || path.isOut) continue;
      const fastest = Math.max(...all.map(({ socket }) => socket.tcp!.deliveryRateBytesPerSecond));
      path.capacity.observe(Math.max(bytes / seconds, fastest));
    }
  }

  #carryOut(rates: readonly SubflowRate[]): void {
    for (const [address, all] of groupBy(rates, ({ local }) => local.address)) {
      const path = this.#pathOf(address);
      // It is left out while none of the connections wants it.
      const isOut = all.every(({ bytesPerSecond }) => bytesPerSecond === 0);
      if (isOut !== path.isOut) leaveOut(this.#pathManager, address, isOut);
      path.isOut = isOut;
    }
    const limits = rates.filter(({ bytesPerSecond }) => bytesPerSecond > 0 && bytesPerSecond !== Infinity);
    const before = new Map(this.#limits.map((limit) => [nameOf(limit), limit.bytesPerSecond]));
    const isSame =
      limits.length === before.size &&
      limits.every((limit) => Math.abs(limit.bytesPerSecond / (before.get(nameOf(limit)) ?? 0) - 1) < noticeable);
    if (isSame) return;
    this.#executor.limit(limits);
    this.#limits = limits;
  }
}

/** Whether a path is to show what it carries. */
const isFree = ({ observations }: Path): boolean =>
  observations <= acquaintance || observations % probing.every < probing.during;

const isSubflow = ({ state, mptcp, tcp }: TcpSocket): boolean =>
  (state === "established" || state === "close-wait") && mptcp !== undefined && tcp !== undefined;

const nameOf = ({ local, remote }: Pick<TcpSocket, "local" | "remote">): string =>
  `${local.address} ${local.port} ${remote.address} ${remote.port}`;

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

function groupBy<K, T>(values: readonly T[], keyOf: (value: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const value of values) groups.set(keyOf(value), [...(groups.get(keyOf(value)) ?? []), value]);
  return groups;
}
