/** All connections of a namespace as they are, from events and, where those cannot be relied on, from the kernel's lists. */
import type { ConnectionState, MptcpEvent } from "../linux/index.ts";
import { LiveConnection, type Host, type SubflowFacts } from "./connection.ts";
import type { Dispatcher } from "./dispatch.ts";

/** States in which a connection takes part in nothing (any more). */
const idle: ReadonlySet<string> = new Set(["listen", "closed", "time-wait", "syn-sent", "new-syn-received"]);

type WithToken = MptcpEvent & { readonly token: number };
const hasToken = (event: MptcpEvent): event is WithToken => event.token !== undefined;

function subflowFacts(event: MptcpEvent): SubflowFacts | undefined {
  const { local, remote, localId = 0, remoteId = 0, backup = false, interfaceIndex } = event;
  return local && remote && { local, remote, localId, remoteId, backup, interfaceIndex };
}

export class Model {
  readonly connections = new Map<number, LiveConnection>();
  readonly #host: Host;
  readonly #handlers: Dispatcher;

  constructor(host: Host, handlers: Dispatcher) {
    this.#host = host;
    this.#handlers = handlers;
  }

  take(event: MptcpEvent): void {
    if (hasToken(event)) return this.#takeOfConnection(event);
    const { kind, local } = event;
    if (!local) return;
    if (kind === "listener_created") this.#handlers.tell("listenerCreated", undefined, local);
    if (kind === "listener_closed") this.#handlers.tell("listenerClosed", undefined, local);
  }

  #takeOfConnection(event: WithToken): void {
    if (event.kind === "created") return this.#created(event);
    // It says all that `created` says, which may have been missed.
    if (event.kind === "established") this.#created(event);
    const connection = this.connections.get(event.token);
    if (!connection) return;
    switch (event.kind) {
      case "established":
        return this.#established(connection);
      case "closed":
        return this.#closed(connection);
      case "announced":
        return this.#announced(event, connection);
      case "removed": {
        const id = event.remoteId ?? 0;
        connection.announced.delete(id);
        return this.#handlers.tell("addressRemoved", connection, id, connection);
      }
      default:
        return this.#ofSubflow(event, connection);
    }
  }

  #created({ token, local, remote, serverSide = false, denyJoinId0 = false }: WithToken): void {
    if (!local || !remote) return;
    const before = this.connections.get(token);
    if (before?.subflow(local, remote)) return;
    // Its end was missed, and the token was given again.
    if (before) this.#closed(before);
    const connection = new LiveConnection(this.#host, { token, local, remote, serverSide, denyJoinId0 });
    this.connections.set(token, connection);
    connection.open({ local, remote, localId: 0, remoteId: 0, backup: false });
    this.#handlers.tell("created", connection, connection);
  }

  #established(connection: LiveConnection): void {
    if (connection.established) return;
    connection.established = true;
    this.#handlers.tell("established", connection, connection);
  }

  #closed(connection: LiveConnection): void {
    this.connections.delete(connection.token);
    connection.closed = true;
    for (const subflow of connection.subflows) connection.close(subflow);
    this.#handlers.tell("closed", connection, connection);
    connection.stopTimers();
  }

  #announced({ remote, remoteId = 0 }: WithToken, connection: LiveConnection): void {
    if (!remote) return;
    const address = { id: remoteId, address: remote.address, port: remote.port || connection.remote.port };
    connection.announced.set(remoteId, address);
    this.#handlers.tell("addressAnnounced", connection, address, connection);
  }

  #ofSubflow(event: WithToken, connection: LiveConnection): void {
    const facts = subflowFacts(event);
    if (!facts) return;
    if (event.kind === "subflow_established") {
      const subflow = connection.open(facts);
      if (subflow) this.#handlers.tell("subflowEstablished", connection, subflow, connection);
    } else if (event.kind === "subflow_closed") {
      const subflow = connection.close(facts, event);
      this.#handlers.tell("subflowClosed", connection, subflow, connection);
    } else if (event.kind === "subflow_priority") {
      const subflow = connection.subflow(facts.local, facts.remote);
      if (!subflow) return;
      subflow.backup = facts.backup;
      this.#handlers.tell("subflowPriority", connection, subflow, connection);
    }
  }

  /** Reads everything again, and tells what is different from what was known. @throws InterruptedDumpError */
  sync(): void {
    const states = new Map(
      this.#host.reader
        .all()
        .filter(({ state }) => !idle.has(state))
        .map((one) => [one.token, one]),
    );
    for (const connection of this.connections.values()) {
      const state = states.get(connection.token);
      if (!state || !isSame(connection, state)) this.#closed(connection);
    }
    for (const state of states.values()) this.#adopt(state);
  }

  #adopt(state: ConnectionState): void {
    const known = this.connections.get(state.token);
    // It began while sockets were listed, after the subflows were: the event that says so is on its way. Or it has ended.
    if (!known && state.subflows.length === 0) return;
    const connection = known ?? new LiveConnection(this.#host, factsOf(state));
    this.connections.set(state.token, connection);
    const wasEstablished = connection.established;
    const { opened, gone } = connection.adopt(state);
    if (!known) this.#handlers.tell("created", connection, connection);
    if (connection.established && !wasEstablished) this.#handlers.tell("established", connection, connection);
    for (const subflow of gone) this.#handlers.tell("subflowClosed", connection, subflow, connection);
    for (const subflow of opened) {
      if (!isFirst(subflow, connection)) this.#handlers.tell("subflowEstablished", connection, subflow, connection);
    }
  }

  /** Tells handlers that begin now what they would have heard. */
  tellAll(): void {
    for (const connection of this.connections.values()) {
      this.#handlers.tell("created", connection, connection);
      if (connection.established) this.#handlers.tell("established", connection, connection);
      for (const subflow of connection.subflows) {
        if (!isFirst(subflow, connection)) this.#handlers.tell("subflowEstablished", connection, subflow, connection);
      }
    }
  }

  stopTimers(): void {
    for (const connection of this.connections.values()) connection.stopTimers();
  }
}

type Ends = Pick<LiveConnection, "local" | "remote">;

function isFirst({ local, remote }: Ends, connection: Ends): boolean {
  return isSame({ local, remote }, connection);
}

function isSame(one: Ends, other: Ends): boolean {
  return (
    one.local.port === other.local.port &&
    one.remote.port === other.remote.port &&
    one.local.address === other.local.address &&
    one.remote.address === other.remote.address
  );
}

function factsOf({ token, local, remote, serverSide = false }: ConnectionState) {
  return { token, local, remote, serverSide, denyJoinId0: false };
}
