import { flows, selector, subtype, u8 } from "../../../policy/index.ts";

/** Subflows that were added to a connection, learnt from the MP_JOIN of their SYN or SYN/ACK. */
export const joined = selector({
  name: "joined",
  state: { joins: flows({ seen: u8 }) },
  observe(packet, { joins }) {
    if (!packet.tcp.syn) return;
    for (const option of packet.tcp.options) {
      if (option.subtype !== subtype.join) continue;
      const join = joins.getOrCreate(packet.flow);
      if (join !== undefined) join.seen = 1;
      return;
    }
  },
  run({ flow }, _params, { joins }) {
    return joins.get(flow) !== undefined;
  },
});
