/** `emptcp chain …`: attach chains, look at them, change them, take them off. */
import type { Command } from "commander";
import { addApply } from "./chain-apply.ts";
import { addChange } from "./chain-change.ts";
import { addEdit } from "./chain-edit.ts";
import { addExplain } from "./chain-explain.ts";
import { addInspect } from "./chain-inspect.ts";
import { addMembers } from "./chain-members.ts";

export function addChain(program: Command): void {
  const chain = program
    .command("chain")
    .summary("attach, list, show, change and remove policy chains")
    .description(
      "Policy chains: which packets (selectors), and what happens to them (actors).\n" +
        "A chain stays attached after the command has ended, until it is removed.",
    )
    .addHelpText(
      "after",
      `
A chain is a file with a default export, e.g. limit.ts:

  import { ActorChain, PolicyChain, SelectorChain } from "emptcp";

  const phones = new SelectorChain().select("src", { prefix: "10.20.0.0/16" });
  const limit = new ActorChain().add("rate_limit", { rate: "10mbit" }).add("record");
  export default new PolicyChain(phones, limit, { name: "phones", interfaces: ["eth0"] });

Then:
  sudo emptcp chain apply limit.ts
  sudo emptcp chain show phones
  sudo emptcp chain set phones rate_limit.rate=5mbit
  sudo emptcp chain edit phones --disable record
  sudo emptcp chain remove phones`,
    );
  addApply(chain);
  addExplain(chain);
  addInspect(chain);
  addChange(chain);
  addEdit(chain);
  addMembers(chain);
}
