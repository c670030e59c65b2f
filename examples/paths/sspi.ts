import { fullmesh, sspi } from "emptcp/paths";

/**
 * Where interfaces have several addresses, such as IPv4 and IPv6 ones: fullmesh, but no more than one subflow over each interface.
 *
 *   sysctl net.mptcp.path_manager=userspace
 *   emptcp paths run examples/paths/sspi.ts
 */
export default [fullmesh(), sspi()];
