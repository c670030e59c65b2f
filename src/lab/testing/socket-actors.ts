/** Actors on sockets that tell what they saw of them, and that set all they can. */
import {
  actor,
  compareExchange,
  flows,
  now,
  perSocket,
  shared,
  slots,
  socketActor,
  text,
  u32,
  u64,
  u8,
  type Socket,
  type StateViews,
} from "../../policy/index.ts";

/** The first socket that asks gets slot 1, and so on. */
const watching = {
  seen: flows({ connects: u32, established: u32, samples: u32, timeouts: u32, inRow: u32, closed: u32, ofSocket: u32 }),
  own: perSocket({ events: u32, slot: u32, since: u64 }),
  told: slots({ owner: u32, srttUs: u32, cwnd: u32 }, 8),
};

function tell(socket: Socket, { seen, own, told }: StateViews<typeof watching>): void {
  const flow = seen.getOrCreate(socket.flow);
  const mine = own.getOrCreate(socket);
  if (!flow || !mine) return;
  if (compareExchange(mine.since, 0, now()) === 0) {
    for (let i = 1; i < 8; i++) {
      const free = told.at(i);
      if (free && compareExchange(free.owner, 0, socket.flow.localPort) === 0) {
        mine.slot = i;
        break;
      }
    }
  }
  mine.events += 1;
  flow.ofSocket = mine.events;
  if (socket.event === "connect") flow.connects += 1;
  if (socket.event === "established") flow.established += 1;
  if (socket.event === "closed") flow.closed += 1;
  if (socket.event === "rto") {
    flow.timeouts += 1;
    flow.inRow = socket.rtoCount;
  }
  const slot = told.at(mine.slot);
  if (socket.event !== "rtt") return;
  flow.samples += 1;
  if (!slot) return;
  slot.srttUs = socket.srttUs;
  slot.cwnd = socket.cwnd;
}

export const watchSockets = socketActor({
  name: "watch_sockets",
  at: ["connect", "established", "rtt", "rto", "closed"],
  state: watching,
  run(socket, _params, state) {
    tell(socket, state);
  },
  release() {},
});

export const setSockets = socketActor({
  name: "set_sockets",
  params: { control: text(15), mark: u32, tos: u8 },
  run(socket, { control, mark, tos }) {
    socket.congestionControl = control;
    socket.mark = mark;
    socket.tos = tos;
  },
});

export const boundSockets = socketActor({
  name: "bound_sockets",
  params: { cwndMax: u32, rtoMinUs: u32 },
  run(socket, { cwndMax, rtoMinUs }) {
    socket.cwndMax = cwndMax;
    socket.rtoMinUs = rtoMinUs;
    socket.delayedAckMaxUs = rtoMinUs;
    socket.userTimeoutMs = 60_000;
  },
});

/** Leaves another mark when it lets go. */
export const markUntilReleased = socketActor({
  name: "mark_until_released",
  params: { mark: u32 },
  run(socket, { mark }) {
    socket.mark = mark;
  },
  release(socket, { mark }) {
    socket.mark = mark + 1;
  },
});

/** What the last packet to leave was marked with. */
export const seeMark = actor({
  name: "see_mark",
  direction: "egress",
  state: { last: shared({ mark: u32, dscp: u32, packets: u64 }) },
  run(packet, _params, { last }) {
    if (packet.tcp.payloadLength === 0) return;
    last.mark = packet.mark;
    last.dscp = packet.ip.dscp;
    last.packets += 1;
  },
});
