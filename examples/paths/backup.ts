import { backup } from "emptcp/paths";

/**
 * Where every byte over the mobile network costs: nothing goes over wwan0, not even a handshake, until WiFi is so bad that
 * a retransmission timer reaches a second. Then wwan0 takes over.
 *
 *   sysctl net.mptcp.path_manager=userspace
 *   emptcp paths run examples/paths/backup.ts
 */
export default backup({ interface: "wwan0", thresholdMs: 1000 });
