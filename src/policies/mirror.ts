import { actor, networkInterface } from "../policy/index.ts";

/** Sends a copy of each packet, as the chain leaves it, out of another interface. */
export const mirror = actor({
  name: "mirror",
  params: { interface: networkInterface },
  run(packet, params) {
    packet.mirror(params.interface);
  },
});
