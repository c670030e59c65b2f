import { ActorChain, PolicyChain, SelectorChain } from "emptcp";
import { actor, cannot, now, u32 } from "emptcp/policy";

/** An option for experiments (RFC 4727); what tells it from others there is its first two bytes (RFC 6994). */
const experiment = 253;

/**
 * Tells the receiver when each packet with payload left, in microseconds of a clock of this host: what it takes to find out
 * which subflows share a bottleneck from how their delays vary. The eight bytes fit beside MPTCP's options once TCP's own
 * timestamps are off (sysctl net.ipv4.tcp_timestamps=0), and into segments that leave one by one: ip link set dev eth0
 * gso_max_segs 1. Both are for connections that begin afterwards.
 */
export const sentAt = actor({
  name: "sent_at",
  direction: "egress",
  run(packet) {
    if (packet.tcp.payloadLength === 0) return;
    if (!packet.insert([experiment, 8, 0x45, 0x4d, u32(now() / 1000)])) return cannot("no_room");
  },
});

// Segments have to leave room for the option: those of SYNs are lowered, so all packets are meant.
const actors = new ActorChain().add("clamp_mss", { by: 8 }).add(sentAt);

export default new PolicyChain(new SelectorChain(), actors, { interfaces: ["eth0"] });
