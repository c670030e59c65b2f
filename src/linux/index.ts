export * from "./diag.ts";
export * from "./mptcp-info.ts";
export * from "./netlink.ts";
export * from "./netns.ts";
export * from "./nfqueue.ts";
export * from "./sockaddr.ts";
export * from "./sockets.ts";
export * from "./tcp-info.ts";
