import { actor, subtype } from "../policy/index.ts";

/** Set in an ADD_ADDR that answers one of ours (RFC 8684, section 3.4.1): it opens no subflow here. */
const ECHO = 0x01;

/** Keeps the peer from adding subflows: its ADD_ADDR options, retransmitted ones too, never reach this host. */
export const blkSubflow = actor({
  name: "blk_subflow",
  run({ tcp }) {
    for (const option of tcp.options) {
      if (option.subtype === subtype.addAddress && (option.u8(2) & ECHO) === 0) option.remove();
    }
  },
});
