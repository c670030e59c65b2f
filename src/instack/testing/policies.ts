/** Congestion control for tests of registration. */
import { base, congestionControl, hostWide, min, perSocket, shared, u32, u64 } from "../../policy/index.ts";

/** Behaves as its base. */
export const plain = congestionControl({ name: "plain" });

/** Never has more than a few packets under way; counts what is acknowledged, on the host and by itself. */
export const counting = congestionControl({
  name: "counting",
  state: {
    total: hostWide("test_instack", shared({ acked: u64 })),
    own: shared({ acked: u64 }),
    memory: perSocket({ acked: u64 }),
  },
  congAvoid(socket, ack, acked, { total, own, memory }) {
    base.congAvoid(socket, ack, acked);
    socket.cwnd = min(socket.cwnd, 20);
    total.acked += acked;
    own.acked += acked;
    const record = memory.getOrCreate(socket);
    if (record) record.acked += acked;
  },
});

/** Keeps other records under the same name on the host. */
export const otherShape = congestionControl({
  name: "other_shape",
  state: { total: hostWide("test_instack", shared({ acked: u32 })) },
  congAvoid(socket, ack, acked, { total }) {
    base.congAvoid(socket, ack, acked);
    total.acked += acked;
  },
});
