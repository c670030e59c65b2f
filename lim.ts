import { ActorChain, PolicyChain, SelectorChain } from "emptcp";
export default new PolicyChain(new SelectorChain(), new ActorChain().add("rate_limit", { rate: "8mbit" }), { name: "lim", interfaces: ["lo"] });
