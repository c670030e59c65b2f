import { ActorChain, PolicyChain, SelectorChain } from "emptcp";
export default new PolicyChain(new SelectorChain(), new ActorChain().add("blk_subflow", { method: "echo" }).add("record"), { name: "blk", interfaces: ["eth0"] });
