/** Puts a place's hosts under credits. */
import { ActorChain, PolicyChain, SelectorChain } from "../../../chain/index.ts";
import { registerInStack } from "../../../instack/index.ts";
import { emptcp } from "../../../policies/stack/index.ts";
import type { Lab } from "../../lab.ts";
import { attachChain } from "../experiment.ts";
import { bottleneck, bottlenecks, uplinks } from "./place.ts";

/** A little less than the bottlenecks carry, so that what gathers in their queues flows off again. */
export const grantedShare = 0.99;

export interface Arranged {
  /** Lets nobody grant anything any more. */
  readonly endGrants: () => void;
  /** Takes everything away. */
  readonly undo: () => void;
}

/** A budget for each bottleneck at the client; accounts of them, and who spends them, at the server. */
export function arrangeCredits(lab: Lab): Arranged {
  // One for all hosts of the kernel.
  const stack = registerInStack(emptcp, { name: `credits${process.pid}`, stays: false });
  const attach = (host: string, title: string, actors: ActorChain, interfaces: readonly string[]) =>
    attachChain(lab, host, title, new PolicyChain(new SelectorChain(), actors), interfaces);
  const rate = `${Math.round(bottleneck.rateMbit * grantedShare * 1000)}kbit`;
  const grants = bottlenecks.map((link) =>
    attach("client", `grants-${link}`, new ActorChain().add("grant_credits", { rate }), [link]),
  );
  const audit = attach("server", "audit", new ActorChain().add("audit_credits"), uplinks);
  const spend = attach("server", "spend", new ActorChain().add("stack_credit", { control: stack.name }), []);
  const endGrants = () => grants.splice(0).forEach(({ detach }) => detach());
  return {
    endGrants,
    undo: () => {
      endGrants();
      audit.detach();
      spend.detach();
      stack.remove();
    },
  };
}
