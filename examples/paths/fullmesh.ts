import { fullmesh } from "emptcp/paths";

/**
 * A phone or laptop that uses all its networks at once: a subflow from each address to each of the server's, again after one
 * has failed, and from each address that comes while connections run.
 *
 *   sysctl net.mptcp.path_manager=userspace
 *   emptcp paths run examples/paths/fullmesh.ts
 */
export default fullmesh({ resetMs: 500, timeoutMs: 5000, mostSubflows: 8 });
