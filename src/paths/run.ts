/** Runs controllers on the connections of a network namespace. */
import {
  ConnectionReader,
  deviceCounters,
  InterruptedDumpError,
  PathManager,
  watchAddresses,
  watchPathManager,
  withNetns,
  type AddressWatcher,
  type LocalAddress,
  type MptcpEventKind,
  type MptcpEventReader,
  type NetworkNamespace,
  type SocketAddress,
} from "../linux/index.ts";
import { endsKey, type LiveSubflow } from "./connection.ts";
import { isController, type Controller, type HandlerName } from "./controller.ts";
import { describeFailure, Dispatcher, type FailureReporter } from "./dispatch.ts";
import { Model } from "./model.ts";
import type { TimeoutWatcher } from "./timeouts.ts";
import type { Connection, Manager } from "./types.ts";

export type RunOptions = {
  /** Default: the one of this process. */
  readonly netns?: NetworkNamespace | undefined;
  /** Hears what handlers throw; by default it goes to stderr, with its stack. Nothing of it stops anything. */
  readonly failed?: FailureReporter;
  /** Room for events that were not read yet, some 500 bytes each; when it is used up, everything is read again. Default 4 MiB. */
  readonly receiveBufferBytes?: number;
};

/** Of connections and sockets that come and go so fast that they cannot be listed. */
const retrySyncMs = 50;

/**
 * Events by which nothing becomes known but themselves, and the handlers that have a use for them. `created` is none of them,
 * though `established` says as much: who has just woken for the one is twice as quick to answer the other.
 */
const optional = {
  listener_created: ["listenerCreated"],
  listener_closed: ["listenerClosed"],
} as const satisfies { readonly [kind in MptcpEventKind]?: readonly HandlerName[] };

const toStderr: FailureReporter = (failure) => void process.stderr.write(`emptcp: ${describeFailure(failure)}\n`);

/** Controllers that run until closed. */
export class ControllerRun implements Manager, Disposable {
  readonly pathManager: PathManager;
  readonly #options: RunOptions;
  readonly #reader: ConnectionReader;
  readonly #handlers: Dispatcher;
  readonly #model: Model;
  readonly #open: Disposable[] = [];
  #events?: MptcpEventReader;
  #addresses?: AddressWatcher;
  #timeouts: TimeoutWatcher | undefined;
  #retry: NodeJS.Timeout | undefined;
  #closed = false;

  /** Nothing is heard until `start`. @throws NoSuchFamilyError, SystemCallError */
  constructor(options: RunOptions) {
    const { netns, failed = toStderr } = options;
    this.#options = options;
    this.#handlers = new Dispatcher(failed);
    this.pathManager = this.#own(new PathManager(netns === undefined ? {} : { netns }));
    this.#reader = this.#own(new ConnectionReader({ netns }));
    const later = (work: () => unknown) => this.#handlers.later(work);
    const host = { pathManager: this.pathManager, reader: this.#reader, manager: this, later };
    this.#model = new Model(host, this.#handlers);
  }

  #own<T extends Disposable>(one: T): T {
    this.#open.push(one);
    return one;
  }

  get connections(): readonly Connection[] {
    return [...this.#model.connections.values()];
  }

  get addresses(): readonly LocalAddress[] {
    return (this.#addresses?.addresses ?? []).filter(isUsable);
  }

  carriedBytes(interfaceName: string): number | undefined {
    const found = withNetns(this.#options.netns, deviceCounters).get(interfaceName);
    return found && found.received.bytes + found.sent.bytes;
  }

  connection(token: number): Connection | undefined {
    return this.#model.connections.get(token);
  }

  async start(controllers: readonly Controller[]): Promise<void> {
    await this.#watchTimeouts(controllers);
    this.#handlers.use(controllers);
    const { netns, receiveBufferBytes } = this.#options;
    const handlers = { event: this.#model.take.bind(this.#model), lost: () => this.#sync() };
    // What happens from here on is told after what is read now, if it is not in it already.
    this.#events = this.#own(
      watchPathManager(handlers, { netns, ...(receiveBufferBytes !== undefined && { receiveBufferBytes }) }),
    );
    this.#leaveOut();
    const changed = (name: "localAddressAdded" | "localAddressRemoved") => (address: LocalAddress) => {
      // Those that are there already are told of below, when all of them are known.
      if (this.#addresses && isUsable(address)) this.#handlers.tell(name, undefined, address, this);
    };
    const onAddresses = { added: changed("localAddressAdded"), removed: changed("localAddressRemoved") };
    this.#addresses = this.#own(watchAddresses(onAddresses, { netns }));
    this.#tellAddresses();
    this.#sync();
  }

  /** What nobody listens to wakes nobody. */
  #leaveOut(): void {
    const kinds = Object.keys(optional) as (keyof typeof optional)[];
    this.#events?.leaveOut(kinds.filter((kind) => !optional[kind].some((name) => this.#handlers.listens(name))));
  }

  #tellAddresses(): void {
    for (const address of this.addresses) this.#handlers.tell("localAddressAdded", undefined, address, this);
  }

  /** Puts others in the place of those that run. Connections stay as they are; the new ones hear of them as if they began. */
  async replace(controllers: readonly Controller[]): Promise<void> {
    checkControllers(controllers);
    await this.#watchTimeouts(controllers);
    if (this.#closed) return;
    this.#model.stopTimers();
    this.#handlers.use(controllers);
    this.#leaveOut();
    this.#tellAddresses();
    this.#model.tellAll();
  }

  /** Hands over what is there now. The event loop does so by itself. */
  drain(): void {
    this.#events?.drain();
    this.#addresses?.drain();
  }

  /** No handler is called any more; connections stay as they are. Safe to call twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#handlers.use([]);
    this.#model.stopTimers();
    this.#timeouts?.close();
    for (const one of this.#open.reverse()) one[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #sync(): void {
    if (this.#closed) return;
    clearTimeout(this.#retry);
    try {
      this.#model.sync();
    } catch (error) {
      if (!(error instanceof InterruptedDumpError)) throw error;
      this.#retry = setTimeout(() => this.#sync(), retrySyncMs);
    }
  }

  async #watchTimeouts(controllers: readonly Controller[]): Promise<void> {
    const isWanted = controllers.some((one) => one.timeout !== undefined);
    if (isWanted && !this.#timeouts) {
      // The compiler takes a while to load, and most controllers do without.
      const { watchTimeouts } = await import("./timeouts.ts");
      if (!this.#closed)
        this.#timeouts = watchTimeouts(this.#options.netns, (local, remote) => this.#timedOut(local, remote));
    } else if (!isWanted) {
      this.#timeouts?.close();
      this.#timeouts = undefined;
    }
  }

  #timedOut(local: SocketAddress, remote: SocketAddress): void {
    const subflow = this.#find(local, remote);
    const rtoUs = subflow?.info()?.tcp?.rtoUs;
    if (!subflow || rtoUs === undefined) return;
    this.#handlers.tell("timeout", subflow.connection, subflow, rtoUs / 1000, subflow.connection);
  }

  #find(local: SocketAddress, remote: SocketAddress): LiveSubflow | undefined {
    const key = endsKey(local, remote);
    for (const connection of this.#model.connections.values()) {
      const found = connection.subflowByKey(key);
      if (found) return found;
    }
    return undefined;
  }
}

/** Subflows come from those. */
function isUsable({ loopback, deprecated, scope }: LocalAddress): boolean {
  return !loopback && !deprecated && (scope === "global" || scope === "site");
}

function checkControllers(controllers: readonly Controller[]): void {
  for (const one of controllers)
    if (!isController(one))
      throw new TypeError('Cannot run controllers: one of them was not made by controller() of this copy of "emptcp"');
}

/**
 * Runs controllers on the MPTCP connections of a network namespace, those that are there already and those that come.
 * They stop with the process, and connections stay. Who is to change connections that begin from now on needs sysctl
 * net.mptcp.path_manager=userspace.
 * @throws NoSuchFamilyError on a kernel without MPTCP; Error without CAP_NET_ADMIN; KernelError when timers cannot be watched
 */
export async function runControllers(
  controllers: readonly Controller[],
  options: RunOptions = {},
): Promise<ControllerRun> {
  checkControllers(controllers);
  const run = new ControllerRun(options);
  try {
    await run.start(controllers);
    return run;
  } catch (error) {
    run.close();
    throw error;
  }
}
