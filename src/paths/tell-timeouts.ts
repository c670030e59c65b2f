import { cannot, emit, event, socketActor, u32 } from "../policy/index.ts";

/** The retransmission timer ran out, `inRow` times one after the other. */
export const expired = event("rto_expired", { inRow: u32 });

export const tellTimeouts = socketActor({
  name: "tell_timeouts",
  at: ["rto"],
  run(socket) {
    if (!emit(expired, socket.flow, { inRow: socket.rtoCount })) return cannot("full");
  },
});
