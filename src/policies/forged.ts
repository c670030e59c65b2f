import { selector, u64 } from "../policy/index.ts";
import { announces } from "./announcements.ts";
import { learnConnections, learning } from "./connections.ts";
import { FORGED, genuineness } from "./genuine.ts";

/** Bytes of an ADD_ADDR with its HMAC: the shortest for IPv6, and those with a port (RFC 8684, section 3.4.1). */
const V6 = 28;
const V4_PORT = 18;
const V6_PORT = 30;

/**
 * Packets with an ADD_ADDR that its sender did not sign with the connection's keys. The keys come from the handshake: a chain
 * that did not see it, in both directions, takes no announcement for forged. Use it to leave such packets to the kernel,
 * which ignores them: `new SelectorChain().exclude("forged")`.
 */
export const forged = selector({
  name: "forged",
  state: learning,
  observe: learnConnections,
  run(packet, _params, state) {
    const option = packet.tcp.options.find(announces);
    if (option === undefined) return false;
    const { length } = option;
    const isV6 = length >= V6;
    const hasPort = length === V4_PORT || length === V6_PORT;
    const port = hasPort ? u64(isV6 ? option.u16(20) : option.u16(8)) : 0;
    const v4Signature = hasPort ? option.u64(10) : option.u64(8);
    const v6Signature = hasPort ? option.u64(22) : option.u64(20);
    const signature = isV6 ? v6Signature : v4Signature;
    const id = u64(option.u8(3));
    return genuineness(packet, state, id, isV6, option.u64(4), option.u64(12), port, signature) === FORGED;
  },
});
