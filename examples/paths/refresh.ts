import { refresh } from "emptcp/paths";

/**
 * As ndiffports.ts, for transfers that last: chance may put all subflows on one path, so every 2.5 s the slowest is replaced by
 * one from another port, until all paths are in use.
 *
 *   sysctl net.mptcp.path_manager=userspace
 *   emptcp paths run examples/paths/refresh.ts
 */
export default refresh({ subflows: 5, periodMs: 2500 });
