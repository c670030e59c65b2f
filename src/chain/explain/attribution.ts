/**
 * Whose doing a change is. Actors leave much to the end of the chain, so what one of them did shows in what the chain makes of
 * the packet with it and without it, and without those behind it.
 */
import { ActorChain } from "../compose.ts";
import { PolicyChain } from "../policy-chain.ts";

/** A chain in which the actors behind one of them are disabled. */
export interface Prefix {
  /** The last actor that acts, from 0. */
  readonly actor: number;
  readonly chain: PolicyChain;
}

/** The chain up to each of its actors on packets, but for the last of them, with which it is whole. */
export function prefixesOf({ selectors, actors, options }: PolicyChain): Prefix[] {
  const acting = actors.entries.flatMap(({ policy, disabled }, i) => (policy.on === "packet" && !disabled ? [i] : []));
  return acting.slice(0, -1).map((actor) => {
    const entries = actors.entries.map((entry, i) => (i > actor ? { ...entry, disabled: true as const } : entry));
    return { actor, chain: new PolicyChain(selectors, new ActorChain(entries), options) };
  });
}
