import { actor, cannot, fallback, u32, u64 } from "../policy/index.ts";
import { isGrant } from "./credits.ts";
import { strategy as kinds, subflowStrategies } from "./strategies.ts";

/**
 * Takes the grants of `grant_credits` from what arrives, and puts them to the credit of subflows for which the stack has made
 * a strategy; those that have none yet follow strategy `credit` from then on. Grants of more than `most` bytes beyond what is
 * acknowledged are not believed.
 */
export const auditCredits = actor({
  name: "audit_credits",
  direction: "ingress",
  params: { most: fallback(u32, 0x100_0000) },
  state: { strategies: subflowStrategies },
  run(packet, { most }, { strategies }) {
    const { tcp } = packet;
    const grant = tcp.options.find(isGrant);
    if (grant === undefined) return;
    const upTo = grant.u32(4);
    grant.remove();
    const granted = u32(upTo - tcp.acknowledgment);
    if (granted > most) return cannot("excessive");
    const strategy = strategies.get(packet.flow);
    if (strategy === undefined) return cannot("no_account");
    if (strategy.kind !== kinds.credit && strategy.kind !== kinds.none) return cannot("other_strategy");
    // What is known may be behind what is acknowledged, or of an older connection: then it counts for nothing.
    const known = u32(u32(strategy.creditBytes) - tcp.acknowledgment);
    if (known > most || granted > known) strategy.creditBytes = u64(upTo);
    strategy.kind = kinds.credit;
  },
});
