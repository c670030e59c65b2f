import { streaming } from "emptcp/paths";

/**
 * For a sender of one block of 64 KB a second, such as live video: one path as long as it keeps up; a second one when less than
 * half of a block has arrived half a second after it began; and none on which a block would wait for a second.
 *
 *   sysctl net.mptcp.path_manager=userspace
 *   emptcp paths run examples/paths/streaming.ts
 */
export default streaming({ checkMs: 500, leastBytes: 32 * 1024, thresholdMs: 1000 });
