/** Policies of a user's own, in a file that can be loaded again. */
import { actor, cannot, perSocket, shared, slots, socketActor, text, u16, u32, u64 } from "../../policy/index.ts";

/** Counts packets in its state. */
export const tally = actor({
  name: "tally",
  params: { step: u16 },
  state: { all: shared({ packets: u64 }) },
  run(_packet, { step }, { all }) {
    all.packets += step;
  },
});

/** Never does what it is there for. */
export const unable = actor({
  name: "unable",
  run() {
    cannot("never_can");
  },
});

/** Uses what actors on sockets have of their own: a text, records with sockets, slots. */
export const steer = socketActor({
  name: "steer",
  at: ["established", "rtt"],
  params: { control: text(15) },
  state: { own: perSocket({ samples: u32 }), told: slots({ samples: u32, srttUs: u32 }, 4) },
  run(socket, { control }, { own, told }) {
    if (socket.event === "established") socket.congestionControl = control;
    const mine = own.getOrCreate(socket);
    const slot = told.at(socket.flow.localPort & 3);
    if (!mine || !slot) return;
    mine.samples += 1;
    slot.samples = mine.samples;
    slot.srttUs = socket.srttUs;
  },
});
