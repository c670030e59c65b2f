/** An actor that is registered in the stack: what it did, who uses it, how it goes. Any process may open it by name. */
import { existsSync, statSync, unlinkSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { countersMap, isListed, stateMap, type StateSlot } from "../compiler/layout.ts";
import { changingPin } from "../chain/pins.ts";
import { removeUnusedHostState } from "../chain/host-state.ts";
import { sumCounters } from "../chain/counters.ts";
import { readState, type ChainState } from "../chain/state.ts";
import {
  dumpTcpSockets,
  enableRunStatistics,
  inEveryNetns,
  netnsInode,
  openLink,
  openMap,
  programFromId,
  structOpsInfo,
  type KernelMap,
  type SocketAddress,
  type TcpState,
} from "../linux/index.ts";
import type { Base } from "../policy/stack.ts";
import type { StackDescription } from "./description.ts";
import { InStackError, NoSuchInStackError } from "./errors.ts";
import { moveDefaults, moveSockets, nothingMoved, type Moved, type PacingMemory } from "./move.ts";
import type { StackPolicy } from "./register.ts";
import { linkPin, operationsPin, readStackDescription, stackStore } from "./store.ts";

/** A socket whose congestion control an actor does. */
export interface StackUser {
  /** The inode of its network namespace. */
  readonly netns: number;
  readonly state: TcpState;
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  /** Of the MPTCP connection, on this host; absent on plain TCP. */
  readonly token?: number;
}

/** A program of the actor as the kernel counts it. */
export interface OperationRuns {
  /** The kernel's name, `cong_avoid`. */
  readonly operation: string;
  /** Bytes of machine code. */
  readonly bytes: number;
  /** While statistics were enabled. */
  readonly runs: number;
  readonly timeNs: number;
}

/** The same, measured over a time. */
export interface OperationRates {
  readonly operation: string;
  readonly runsPerSecond: number;
  /** Mean of a run, the measuring itself included (some 10 ns); undefined when it did not run. */
  readonly nsPerRun?: number;
  /** Part of one CPU's time. */
  readonly cpuShare: number;
}

export interface StackCounters {
  /** Why operations could not do what they are for, and how often. */
  readonly cannot: Readonly<Record<string, number>>;
  /** In policies that emit any. */
  readonly lostEvents?: number;
}

/** What is to become of sockets that use an actor. */
export interface MoveOptions {
  /** Whether running sockets are moved along, which they are unless it is false; else they go on as they are until closed. */
  readonly move?: boolean;
}

export class RunningInStack {
  readonly #directory: string;
  #description: StackDescription;
  #inode: number;

  constructor(directory: string, description: StackDescription) {
    this.#directory = directory;
    this.#description = description;
    this.#inode = statSync(directory).ino;
  }

  get name(): string {
    return this.#description.name;
  }

  /** What it is now: any process may have replaced it. @throws NoSuchInStackError when it was removed meanwhile */
  get description(): StackDescription {
    const inode = statSync(this.#directory, { throwIfNoEntry: false })?.ino;
    if (inode === undefined) throw new NoSuchInStackError(this.name, stackStore.names());
    if (inode !== this.#inode) {
      this.#description = readStackDescription(this.#directory);
      this.#inode = inode;
    }
    return this.#description;
  }

  /** Whether the kernel still has it: somebody may have detached its link by other means. */
  isRegistered(): boolean {
    using link = openLink(`${this.#directory}/${linkPin}`);
    return link.info().mapId !== 0;
  }

  /** Its programs, by operation. */
  operations(): OperationRuns[] {
    return this.#programs().map(({ operation, id }) => {
      using program = programFromId(id);
      const { jitedBytes, runCount, runTimeNs } = program.info();
      return { operation, bytes: jitedBytes, runs: runCount, timeNs: runTimeNs };
    });
  }

  #programs(): { operation: string; id: number }[] {
    return this.#withMap(operationsPin, (map) =>
      Object.entries(structOpsInfo(map).operations).map(([operation, id]) => ({ operation, id })),
    );
  }

  /**
   * What its operations cost, measured over `seconds` from now. Meanwhile the kernel measures every program of the machine.
   * @throws KernelError
   */
  async rates(seconds = 1): Promise<OperationRates[]> {
    using _statistics = enableRunStatistics();
    const started = performance.now();
    const before = this.operations();
    await setTimeout(1000 * seconds);
    const elapsed = (performance.now() - started) / 1000;
    return this.operations().map(({ operation, runs, timeNs }) => {
      const then = before.find((one) => one.operation === operation) ?? { runs: 0, timeNs: 0 };
      const [ran, tookNs] = [runs - then.runs, timeNs - then.timeNs];
      return {
        operation,
        runsPerSecond: ran / elapsed,
        ...(ran > 0 && { nsPerRun: tookNs / ran }),
        cpuShare: tookNs / (elapsed * 1e9),
      };
    });
  }

  /** The sockets, of all network namespaces, whose congestion control has its name. */
  users(): StackUser[] {
    const { name } = this;
    return inEveryNetns(() => {
      const netns = netnsInode();
      return dumpTcpSockets().flatMap(({ congestionControl, state, local, remote, mptcp }): StackUser[] =>
        congestionControl === name ? [{ netns, state, local, remote, ...(mptcp && { token: mptcp.tokenLocal }) }] : [],
      );
    }).flat();
  }

  /** What the policy counted with `cannot`, by reason, and events for which there was no room. */
  counters(): StackCounters {
    const { layout } = this.description;
    if (layout.counters.length === 0) return { cannot: {} };
    const sums = this.#withMap(`map_${countersMap}`, (map) =>
      sumCounters(map.lookupPerCpu(new Uint8Array(4))!, layout),
    );
    const cannot: Record<string, number> = {};
    let lostEvents: number | undefined;
    layout.counters.forEach((slot, i) => {
      if (slot.kind === "cannot") cannot[slot.reason] = sums[i];
      if (slot.kind === "lostEvents") lostEvents = sums[i];
    });
    return { cannot, ...(lostEvents !== undefined && { lostEvents }) };
  }

  /** All state that it keeps in maps, decoded; state of single sockets is read with them only. */
  state(): ChainState[] {
    return this.description.layout.state
      .filter(isListed)
      .map((slot) => ({ slot, ...this.#withMap(`map_${slot.map}`, (map) => readState(map, slot)) }));
  }

  /**
   * Puts another policy in this one's place, all of it or nothing: sockets that begin from now on have the new one, running
   * ones are moved to it unless `move` is false. Host-wide state goes on, and state that both keep alike.
   * @returns what was moved
   * @throws CompileError, InStackError, InStackBusyError, NoSuchInStackError, VerifierError, KernelError
   */
  async replace(policy: StackPolicy, options: { readonly base?: Base } & MoveOptions = {}): Promise<Moved> {
    const { replaceInStack } = await import("./register.ts");
    return replaceInStack(this, policy, options);
  }

  /**
   * Takes its name away: no socket gets it any more, and network namespaces whose default it is get its base. Sockets that
   * use it get the base too, unless `move` is false: then they go on with it until they are closed.
   * @returns what was moved to the base
   */
  remove({ move = true }: MoveOptions = {}): Moved {
    const lock = stackStore.lockAt(this.#directory);
    let moved = nothingMoved;
    try {
      stackStore.remove(this.name, (directory) => {
        moved = release(directory, move);
      });
    } finally {
      lock.release();
    }
    removeUnusedHostState();
    return moved;
  }

  /** @internal What a replacement has begun; the caller holds the lock. */
  finishChange(): Moved {
    if (!existsSync(`${this.#directory}/${changingPin}`)) return nothingMoved;
    using link = openLink(`${this.#directory}/${linkPin}`);
    using operations = openMap(`${this.#directory}/${operationsPin}`);
    // The kernel refuses to replace a thing by itself.
    if (link.info().mapId !== operations.info().id) link.update(operations);
    const { moves, base } = this.description;
    const moved = moves && base !== undefined ? moveSockets(this.name, this.name) : nothingMoved;
    unlinkSync(`${this.#directory}/${changingPin}`);
    return moved;
  }

  /** @throws InStackError when this version of the package does not know enough of it */
  expectChangeable(): StackDescription {
    const { description } = this;
    if (description.fixed === undefined) return description;
    throw new InStackError(
      `Cannot replace ${this.name} in the stack: ${description.fixed}. ` +
        `Stop it (emptcp stack stop ${this.name}) and start it again`,
    );
  }

  /** @internal */
  get directory(): string {
    return this.#directory;
  }

  #withMap<T>(pin: string, use: (map: KernelMap) => T): T {
    using map = openMap(`${this.#directory}/${pin}`);
    return use(map);
  }
}

/** Unregisters what is pinned in a directory, and gives what it leaves to its base. */
export function release(directory: string, move = true): Moved {
  // What was killed before it was registered has no link.
  if (!existsSync(`${directory}/${linkPin}`)) return nothingMoved;
  const { name, base, layout } = readStackDescription(directory);
  {
    using link = openLink(`${directory}/${linkPin}`);
    if (link.info().mapId !== 0) link.detach();
  }
  // A scheduler: the kernel gives connections that it leaves another one. Or one of an unknown version.
  if (base === undefined) return nothingMoved;
  if (!move) return { ...nothingMoved, namespaces: moveDefaults(name, base) };
  const memory = openPacingMemory(directory, layout.state);
  try {
    return moveSockets(name, base, memory);
  } finally {
    memory?.map.close();
  }
}

/** What an actor remembers of caps on pacing, where it sets any: its base would not know how to take them back. */
function openPacingMemory(directory: string, state: readonly StateSlot[]): PacingMemory | undefined {
  for (const slot of state) {
    const [paced, unpaced] = ["paced", "unpaced"].map((name) => slot.fields.find((field) => field.name === name));
    if (slot.kind !== "perSocket" || paced?.type !== "u64" || unpaced?.type !== "u64") continue;
    const map = openMap(`${directory}/map_${slot.map}`);
    return { map, spec: stateMap(slot)!, pacedAt: paced.offset, unpacedAt: unpaced.offset };
  }
  return undefined;
}
