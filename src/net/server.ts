/** Servers on MPTCP: `createServer()` and `Server` as `node:net` has them. */
import net from "node:net";
import { listen, listenerState, type ListenerState, type ListenOptions } from "./listen.ts";
import type { MptcpSocket } from "./mptcp.ts";

export type ConnectionListener = (socket: MptcpSocket) => void;

export class Server extends net.Server {
  constructor(options?: net.ServerOpts | ConnectionListener, listener?: ConnectionListener) {
    const given = typeof options === "function" ? options : listener;
    super(typeof options === "function" ? {} : options);
    if (given) this.on("connection", given as (socket: net.Socket) => void);
  }

  /** Whether the server takes MPTCP connections: known once it listens. */
  get mptcp(): ListenerState {
    return listenerState(this);
  }

  override listen(port?: number, hostname?: string, backlog?: number, listener?: () => void): this;
  override listen(port?: number, hostname?: string, listener?: () => void): this;
  override listen(port?: number, backlog?: number, listener?: () => void): this;
  override listen(port?: number, listener?: () => void): this;
  override listen(path: string, backlog?: number, listener?: () => void): this;
  override listen(path: string, listener?: () => void): this;
  override listen(options: ListenOptions, listener?: () => void): this;
  override listen(handle: unknown, backlog?: number, listener?: () => void): this;
  override listen(handle: unknown, listener?: () => void): this;
  override listen(...args: unknown[]): this {
    return listen(this, ...args);
  }
}

/** As `net.createServer()`: its sockets have `mptcp`, and are plain TCP for peers that do not speak MPTCP. */
export function createServer(listener?: ConnectionListener): Server;
export function createServer(options?: net.ServerOpts, listener?: ConnectionListener): Server;
export function createServer(options?: net.ServerOpts | ConnectionListener, listener?: ConnectionListener): Server {
  return new Server(options, listener);
}
