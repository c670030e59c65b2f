import { ActorChain, PolicyChain, SelectorChain } from "emptcp";
import { actor, max, u16 } from "emptcp/policy";

/** Lowers what this host may send: the receive window that its peers' ACKs carry becomes a fraction of what it was. */
export const quietStart = actor({
  name: "quiet_start",
  params: { shift: u16 },
  run({ tcp }, { shift }) {
    if (!tcp.ack || tcp.syn || tcp.rst) return;
    tcp.window = max(tcp.window >> shift, 1);
  },
});

const phones = new SelectorChain().select("src", { prefix: "10.20.0.0/16" });
const halve = new ActorChain().add(quietStart, { shift: 1 });

export default new PolicyChain(phones, halve, { interfaces: ["eth0"] });
