import { min, rate, socketActor, u32 } from "../policy/index.ts";

/** Caps what one subflow of this host sends, by the kernel's own pacing. Works while connections run, with any congestion control. */
export const pace = socketActor({
  name: "pace",
  params: { rate },
  run(socket, { rate }) {
    socket.maxPacingRate = u32(min(rate, 0xffff_fffe));
  },
});
