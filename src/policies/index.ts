/** The built-in selectors and actors. */
export { blkSubflow } from "./blk_subflow.ts";
export { drop } from "./drop.ts";
export { dst } from "./dst.ts";
export { ipPair } from "./ip_pair.ts";
export { macModify } from "./mac_modify.ts";
export { mark } from "./mark.ts";
export { mirror } from "./mirror.ts";
export { pace } from "./pace.ts";
export { packetType } from "./packet_type.ts";
export { port } from "./port.ts";
export { rateLimit } from "./rate_limit.ts";
export { record } from "./record.ts";
export { redirect } from "./redirect.ts";
export { sequence } from "./sequence.ts";
export { src } from "./src.ts";
export { subflow } from "./subflow.ts";
