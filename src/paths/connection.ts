/** Connections and subflows as they live: what the kernel told of them, and commands to it. */
import {
  PathManagerError,
  type AnnounceOptions,
  type ConnectionReader,
  type ConnectionState,
  type MptcpCounters,
  type MptcpEvent,
  type PathManager,
  type RefusalKind,
  type SocketAddress,
  type SubflowState,
} from "../linux/index.ts";
import type { Connection, Manager, NewSubflow, PeerAddress, PendingSubflow, Subflow } from "./types.ts";

/** What connections need of their surroundings. */
export interface Host {
  readonly pathManager: PathManager;
  readonly reader: ConnectionReader;
  readonly manager: Manager;
  /** Wraps what a timer does, so that its failure is told. */
  readonly later: (work: () => unknown) => () => void;
}

const keyOf = ({ address, port }: SocketAddress): string => `${address} ${port}`;
export const endsKey = (local: SocketAddress, remote: SocketAddress): string => `${keyOf(local)} ${keyOf(remote)}`;

export type SubflowFacts = Pick<Subflow, "local" | "remote" | "localId" | "remoteId" | "backup"> & {
  /** That it is bound to. */
  readonly interfaceIndex?: number | undefined;
};

export class LiveSubflow implements Subflow {
  readonly connection: LiveConnection;
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  localId: number;
  remoteId: number;
  backup: boolean;
  open = false;
  removed = false;
  error?: string;
  resetReason?: number;
  readonly #interfaceIndex: number | undefined;

  constructor(connection: LiveConnection, facts: SubflowFacts) {
    const { local, remote, localId, remoteId, backup, interfaceIndex } = facts;
    this.connection = connection;
    this.local = local;
    this.remote = remote;
    this.localId = localId;
    this.remoteId = remoteId;
    this.backup = backup;
    this.#interfaceIndex = interfaceIndex;
  }

  info(): SubflowState | undefined {
    return this.connection.host.reader.subflow(this.local, this.remote, this.#interfaceIndex);
  }
}

type ConnectionFacts = Pick<Connection, "token" | "serverSide" | "local" | "remote" | "denyJoinId0">;

export class LiveConnection implements Connection {
  readonly host: Host;
  readonly token: number;
  readonly serverSide: boolean;
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly denyJoinId0: boolean;
  established = false;
  closed = false;
  readonly announced = new Map<number, PeerAddress>();
  pending: readonly PendingSubflow[] = [];
  readonly #subflows = new Map<string, LiveSubflow>();
  /** Address ids of this host in the connection, by address and, where one was asked for, port. */
  #ids = new Map<string, number>();
  /** By this host, by id. */
  readonly #announced = new Map<number, Omit<AnnounceOptions, "token" | "id">>();
  readonly #timers = new Set<NodeJS.Timeout>();

  constructor(host: Host, { token, serverSide, local, remote, denyJoinId0 }: ConnectionFacts) {
    this.host = host;
    this.token = token;
    this.serverSide = serverSide;
    this.local = local;
    this.remote = remote;
    this.denyJoinId0 = denyJoinId0;
  }

  get manager(): Manager {
    return this.host.manager;
  }

  get subflows(): readonly LiveSubflow[] {
    return [...this.#subflows.values()].filter(({ removed }) => !removed);
  }

  subflow(local: SocketAddress, remote: SocketAddress): LiveSubflow | undefined {
    return this.subflowByKey(endsKey(local, remote));
  }

  subflowByKey(key: string): LiveSubflow | undefined {
    return this.#subflows.get(key);
  }

  createSubflow({ local, remote, backup = false }: NewSubflow = {}): boolean {
    const address = local?.address ?? this.local.address;
    const port = local?.port;
    const interfaceIndex = local?.interfaceIndex;
    const to = { address: remote?.address ?? this.remote.address, port: remote?.port ?? this.remote.port };
    let localId = 0;
    const isDone = this.#do(["closed"], () => {
      localId = this.#withId(address, port, (id) =>
        this.host.pathManager.createSubflow({
          token: this.token,
          local: { address, id, port, interfaceIndex },
          remote: to,
          backup,
        }),
      );
    });
    if (isDone) this.pending = [...this.pending, { local: address, localId, remote: to }];
    return isDone;
  }

  removeSubflow(subflow: Subflow | PendingSubflow): void {
    const one = isPending(subflow) ? this.#findPending(subflow) : subflow;
    if (!one) return;
    const { local, remote } = one;
    this.#do(["closed", "not-found"], () => {
      this.host.pathManager.destroySubflow({ token: this.token, local, remote });
    });
    const mine = this.subflow(local, remote);
    if (mine) mine.removed = true;
  }

  /** Which socket it is, the kernel's lists tell. From now on it is known, though it is not open. */
  #findPending({ local, localId, remote }: PendingSubflow): LiveSubflow | undefined {
    const found = this.host.reader
      .all()
      .find(({ token }) => token === this.token)
      ?.subflows.find(
        (one) =>
          one.state === "syn-sent" &&
          one.local.address === local &&
          one.localId === localId &&
          keyOf(one.remote) === keyOf(remote) &&
          !this.subflow(one.local, one.remote),
      );
    if (!found) return undefined;
    const subflow = new LiveSubflow(this, found);
    this.#subflows.set(endsKey(found.local, found.remote), subflow);
    return subflow;
  }

  setBackup({ local, remote }: Subflow, backup: boolean): void {
    this.#do(["closed", "not-found"], () => {
      this.host.pathManager.setBackup({ token: this.token, local, remote, backup });
    });
    const mine = this.subflow(local, remote);
    if (mine) mine.backup = backup;
  }

  announce({ address, port, interfaceIndex }: Parameters<Connection["announce"]>[0]): number {
    const send = (id: number) =>
      this.host.pathManager.announce({ token: this.token, address, id, port, interfaceIndex });
    let id = 0;
    const isDone = this.#do(["closed"], () => {
      id = this.#withId(address, port, send, 1);
    });
    if (isDone) this.#announced.set(id, { address, port, interfaceIndex });
    return id;
  }

  withdraw(id: number): void {
    const announced = this.#announced.get(id);
    this.#do(["closed"], () => {
      try {
        this.host.pathManager.withdraw({ token: this.token, id });
      } catch (error) {
        if (!announced || !(error instanceof PathManagerError) || error.kind !== "not-found") throw error;
        // Who removes a subflow makes the kernel forget the address that it came from. The peer still knows it.
        this.host.pathManager.announce({ token: this.token, id, ...announced });
        this.host.pathManager.withdraw({ token: this.token, id });
      }
    });
    this.#announced.delete(id);
    for (const [key, one] of this.#ids) if (one === id) this.#ids.delete(key);
  }

  info(): MptcpCounters | undefined {
    return this.host.reader.info(this.token);
  }

  after(delayMs: number, work: () => unknown): () => void {
    const run = this.host.later(work);
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      run();
    }, delayMs);
    return this.#keep(timer);
  }

  every(periodMs: number, work: () => unknown): () => void {
    return this.#keep(setInterval(this.host.later(work), periodMs));
  }

  #keep(timer: NodeJS.Timeout): () => void {
    // Of a connection that is gone: never.
    if (this.closed) clearTimeout(timer);
    else this.#timers.add(timer);
    return () => {
      this.#timers.delete(timer);
      clearTimeout(timer);
    };
  }

  stopTimers(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }

  /** What is known of it from now on, by an event or by the kernel's lists. @returns undefined for one that was known */
  open(facts: SubflowFacts): LiveSubflow | undefined {
    const key = endsKey(facts.local, facts.remote);
    this.#settle(facts);
    const before = this.#subflows.get(key);
    if (before) {
      before.localId = facts.localId;
      before.remoteId = facts.remoteId;
      before.backup = facts.backup;
      return undefined;
    }
    const subflow = new LiveSubflow(this, facts);
    subflow.open = true;
    this.#subflows.set(key, subflow);
    return subflow;
  }

  /** @returns also one that was never open */
  close(told: SubflowFacts, { errorName, resetReason }: Pick<MptcpEvent, "errorName" | "resetReason"> = {}) {
    const facts = told.remote.port === 0 ? this.#withPort(told) : told;
    const key = endsKey(facts.local, facts.remote);
    const subflow = this.#subflows.get(key) ?? new LiveSubflow(this, facts);
    if (!subflow.open) this.#settle(facts);
    this.#subflows.delete(key);
    subflow.open = false;
    if (errorName !== undefined) subflow.error = errorName;
    if (resetReason !== undefined) subflow.resetReason = resetReason;
    return subflow;
  }

  /** The kernel forgets the peer's port when it closes what was on its way. */
  #withPort(facts: SubflowFacts): SubflowFacts {
    const { local, localId } = facts;
    const isSame = (remote: SocketAddress) => remote.address === facts.remote.address;
    const known =
      [...this.#subflows.values()].find((one) => keyOf(one.local) === keyOf(local) && isSame(one.remote)) ??
      this.pending.find((one) => one.local === local.address && one.localId === localId && isSame(one.remote));
    return known ? { ...facts, remote: known.remote } : facts;
  }

  /** Takes over what the kernel lists. @returns what is new, and what is gone */
  adopt({ subflows, state }: ConnectionState): { opened: LiveSubflow[]; gone: LiveSubflow[] } {
    this.established ||= state !== "syn-sent" && state !== "syn-received";
    const there = new Set(subflows.filter(isOpen).map(({ local, remote }) => endsKey(local, remote)));
    const gone = [...this.#subflows.values()]
      .filter(({ local, remote }) => !there.has(endsKey(local, remote)))
      .map((one) => this.close(one));
    const opened = subflows.filter(isOpen).flatMap((one) => this.open(one) ?? []);
    // The kernel does not list what the peer announced, but where subflows lead to.
    for (const { opened: byThisHost, remoteId, remote } of subflows)
      if (byThisHost && remoteId > 0 && !this.announced.has(remoteId))
        this.announced.set(remoteId, { id: remoteId, ...remote });
    this.pending = subflows
      .filter((one) => one.state === "syn-sent")
      .map(({ local, localId, remote }) => ({ local: local.address, localId, remote }));
    return { opened, gone };
  }

  /** One of those that were on the way is there now, or has failed. */
  #settle({ local, remote, localId }: SubflowFacts): void {
    const index = this.pending.findIndex(
      (one) => one.local === local.address && one.localId === localId && keyOf(one.remote) === keyOf(remote),
    );
    if (index >= 0) this.pending = this.pending.filter((_, i) => i !== index);
  }

  /**
   * What is refused because the connection or the subflow has just ended is no error: the event that says so is on its way.
   * @returns whether it was done
   */
  #do(excused: readonly RefusalKind[], command: () => void): boolean {
    try {
      command();
      return true;
    } catch (error) {
      if (this.established && error instanceof PathManagerError && excused.includes(error.kind)) return false;
      throw error;
    }
  }

  /** Does something with the id of a local address; should the kernel know another one, with that. */
  #withId(address: string, port: number | undefined, work: (id: number) => void, least: 0 | 1 = 0): number {
    let id = this.#idOf(address, port, least);
    try {
      work(id);
    } catch (error) {
      if (!(error instanceof PathManagerError) || error.kind !== "in-use") throw error;
      // Others give ids, too: a process before this one, a person at the shell.
      for (const one of this.host.pathManager.addressesOf(this.token))
        this.#ids.set(addressKey(one.address, one.port), one.id);
      const known = this.#idOf(address, port, least);
      if (known === id) throw error;
      work((id = known));
    }
    this.#ids.set(addressKey(address, port), id);
    return id;
  }

  /** @param least 1 for what is announced: 0 stands for the address that the peer knows as that of the first subflow */
  #idOf(address: string, port: number | undefined, least: 0 | 1): number {
    const known = this.#ids.get(addressKey(address, port));
    if (known !== undefined && known >= least) return known;
    if (port === undefined) {
      if (address === this.local.address && least === 0) return 0;
      const same = this.subflows.find((one) => one.local.address === address && one.localId >= least);
      if (same) return same.localId;
    }
    const taken = new Set([...this.#ids.values(), ...this.subflows.map(({ localId }) => localId)]);
    for (let id = 1; id < 256; id++) if (!taken.has(id)) return id;
    throw new RangeError(`Cannot use ${address}: the connection has used all 255 address ids`);
  }
}

const isPending = (subflow: Subflow | PendingSubflow): subflow is PendingSubflow => typeof subflow.local === "string";
const isOpen = ({ state }: SubflowState): boolean => state !== "syn-sent" && state !== "closed";
const addressKey = (address: string, port: number | undefined): string => `${address} ${port ?? ""}`;
