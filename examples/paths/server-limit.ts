import { serverLimit } from "emptcp/paths";

/**
 * On a server that shares its bandwidth out by connections: a client gets one subflow from each of its addresses, and nothing by
 * opening more.
 *
 *   sysctl net.mptcp.path_manager=userspace
 *   emptcp paths run examples/paths/server-limit.ts
 */
export default serverLimit({ perAddress: 1 });
