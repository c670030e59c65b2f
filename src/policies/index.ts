/** The built-in selectors and actors. */
export { blkSubflow } from "./blk_subflow.ts";
export { dst } from "./dst.ts";
export { ipPair } from "./ip_pair.ts";
export { pace } from "./pace.ts";
export { packetType } from "./packet_type.ts";
export { port } from "./port.ts";
export { rateLimit } from "./rate_limit.ts";
export { record } from "./record.ts";
export { sequence } from "./sequence.ts";
export { src } from "./src.ts";
export { subflow } from "./subflow.ts";
