/** TLS and HTTP clients on MPTCP. */
import http from "node:http";
import https from "node:https";
import type { LookupFunction, Socket as NetSocket } from "node:net";
import tls from "node:tls";
import { useMptcp } from "./handle.ts";
import { attach, mptcpOf, type MptcpSocket } from "./mptcp.ts";
import { connect, Socket, type ConnectOptions, type SocketOptions } from "./socket.ts";

export type TlsConnectOptions = tls.ConnectionOptions & Pick<SocketOptions, "netns" | "signal">;

/** As `tls.connect(options)`: TLS over MPTCP, or over the connected socket that `options.socket` gives. */
export function connectTls(options: TlsConnectOptions, listener?: () => void): MptcpSocket<tls.TLSSocket> {
  if (options.socket) {
    const socket = tls.connect(options, listener);
    return attach(socket, mptcpOf(options.socket as NetSocket));
  }
  // As in connect().
  if (options.signal?.aborted) {
    const { signal } = options;
    return useMptcp(new tls.TLSSocket(new Socket(), { signal } as tls.TLSSocketOptions), options);
  }
  return useMptcp(tls.connect(withLaterLookup(options), listener), options);
}

/** `tls.connect()` begins to connect before it returns if a lookup of one's own answers at once. */
function withLaterLookup<T extends { lookup?: LookupFunction | undefined }>(options: T): T {
  const { lookup } = options;
  if (!lookup) return options;
  const later: LookupFunction = (hostname, how, callback) =>
    lookup(hostname, how, (...answer) => process.nextTick(callback, ...answer));
  return { ...options, lookup: later };
}

/** `new http.Agent()` whose sockets are MPTCP: `http.get({ agent: new HttpAgent({ keepAlive: true }), … })`. */
export class HttpAgent extends http.Agent {
  /** Called by `http`. */
  override createConnection(options: http.ClientRequestArgs): NetSocket {
    return connect(options as ConnectOptions);
  }
}

/** `new https.Agent()` whose sockets are MPTCP; sessions are cached as ever. */
export class HttpsAgent extends https.Agent {
  /** Called by `https`. */
  override createConnection(options: https.RequestOptions): NetSocket {
    const socket = super.createConnection(withLaterLookup(options)) as tls.TLSSocket;
    return useMptcp(socket, options as Pick<SocketOptions, "netns">);
  }
}
