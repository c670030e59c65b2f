/** Policies for tests of what is told of a packet. */
import { actor, emit, event, kind, selector, shared, table, u16, u64 } from "../../../policy/index.ts";

const opened = event("opened", { port: u16, window: u64 });

/** Tells of new connections. */
export const tell = actor({
  name: "tell",
  run(packet) {
    if (packet.tcp.syn) emit(opened, packet.flow, { port: packet.tcp.destinationPort, window: packet.tcp.window });
  },
});

/** Sends every packet back with an option. */
export const bounce = actor({
  name: "bounce",
  run(packet) {
    packet.answer([kind.mptcp, 4, 0x51, 7], packet.tcp.window);
  },
});

/** Sends a copy with an option ahead of every packet. */
export const echo = actor({
  name: "echo",
  run(packet) {
    packet.duplicate([kind.mptcp, 4, 0x51, 7]);
  },
});

/** Counts what it is asked about; matches every second. */
export const everySecond = selector({
  name: "every_second",
  state: { count: shared({ asked: u64 }) },
  run(_packet, _params, { count }) {
    count.asked += 1;
    return count.asked % 2 === 0;
  },
});

/** Remembers a port while it is in use. */
export const ports = actor({
  name: "ports",
  state: { open: table(u16, { packets: u64 }, 64) },
  run({ tcp }, _params, { open }) {
    if (tcp.fin) {
      open.delete(tcp.destinationPort);
      return;
    }
    const port = open.getOrCreate(tcp.destinationPort);
    if (port !== undefined) port.packets += 1;
  },
});
