import { ActorChain, MemberSet, PolicyChain, SelectorChain } from "emptcp";
import { stackWeight } from "emptcp/policies";

/**
 * Of every MPTCP connection's data this host sends 70 % over one uplink and 30 % over the other, by the addresses that it has
 * there, as fast as the one that is short of its share allows:
 *
 *   emptcp stack start
 *   emptcp chain apply examples/seventy-thirty.ts
 *
 * The same at the other end holds for what comes back: "dst" in the place of "src". Shares change while connections run:
 *
 *   emptcp chain members seventy-thirty --update prefix=192.168.1.0/24,weight=50 --update prefix=192.168.2.0/24,weight=50
 */
const uplinks = new MemberSet("src", {
  name: "uplinks",
  params: { weight: stackWeight.params.weight },
  members: [
    { prefix: "192.168.1.0/24", weight: 70 },
    { prefix: "192.168.2.0/24", weight: 30 },
  ],
});
const share = new ActorChain().add(stackWeight, { weight: uplinks.param("weight") });

export default new PolicyChain(new SelectorChain().select(uplinks), share, { name: "seventy-thirty" });
