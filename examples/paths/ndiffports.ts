import { ndiffports } from "emptcp/paths";

/**
 * Hosts with one address each, between which routers spread flows over several paths by their ports, as in data centres: four
 * subflows have a good chance to use more than one path.
 *
 *   sysctl net.mptcp.path_manager=userspace
 *   emptcp paths run examples/paths/ndiffports.ts
 */
export default ndiffports({ subflows: 4 });
