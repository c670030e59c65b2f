import { actor, networkInterface } from "../policy/index.ts";

/** Sends packets out of another interface, past routing; their Ethernet addresses are for `mac_modify` to fit to it. */
export const redirect = actor({
  name: "redirect",
  params: { interface: networkInterface },
  run(packet, params) {
    packet.redirect(params.interface);
  },
});
