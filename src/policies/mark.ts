import { actor, fallback, u32 } from "../policy/index.ts";

/** Sets bits of the packet's mark, for routing rules, netfilter and other programs; the bits outside `mask` stay. */
export const mark = actor({
  name: "mark",
  params: { mark: u32, mask: fallback(u32, 0xffff_ffff) },
  run(packet, { mark, mask }) {
    packet.mark = (packet.mark & ~mask) | (mark & mask);
  },
});
