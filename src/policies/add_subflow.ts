import { actor, cannot, type u64 } from "../policy/index.ts";
import { announced, bitOf, keptOptions, keyOf, maximumIds } from "./announcements.ts";

/** The lowest address id among bits; there is one. */
function lowestId(bits: u64): u64 {
  for (let id = 0; id < maximumIds; id++) {
    if (((bits >> id) & 1) !== 0) return id;
  }
  return 0;
}

/**
 * Gives back what `blk_subflow` took: each kept ADD_ADDR reaches this host once more, in a packet that has room for it or in
 * a pure ACK beside one, and the kernel opens the subflow. From then on the address is let through.
 */
export const addSubflow = actor({
  name: "add_subflow",
  state: { announced, keptOptions },
  run(packet, _params, { announced, keptOptions }) {
    const { tcp } = packet;
    if (tcp.syn || tcp.rst) return;
    const flow = announced.get(packet.flow);
    if (flow === undefined || flow.kept === 0) return;
    const id = lowestId(flow.kept);
    const saved = keptOptions.get(keyOf(flow, id));
    if (saved === undefined) {
      flow.kept = flow.kept & ~bitOf(id);
      return cannot("forgotten");
    }
    if (!packet.insert(saved.option) && !packet.duplicate(saved.option)) return cannot("option_space");
    flow.restored = flow.restored | bitOf(id);
    flow.kept = flow.kept & ~bitOf(id);
  },
});
