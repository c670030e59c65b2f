/** MPTCP sockets for Node: what `node:net` offers, on IPPROTO_MPTCP. */
export { useMptcp } from "./handle.ts";
export * from "./http.ts";
export { listen, type ListenerState, type ListenOptions } from "./listen.ts";
export { mptcpOf, type Mptcp, type MptcpSocket } from "./mptcp.ts";
export * from "./server.ts";
export { connect, createConnection, Socket, type ConnectOptions, type SocketOptions } from "./socket.ts";
export * from "./undici.ts";
export type { MptcpCounters, MptcpInfo, MptcpSubflow } from "../linux/mptcp-info.ts";
export type { TcpInfo } from "../linux/tcp-info.ts";
