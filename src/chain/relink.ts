/**
 * Leaving actors of a linked chain out, and letting them in again, by writes to its steps map alone: nothing is compiled or
 * loaded. Each packet meets the chain as it was or as it is.
 */
import { readdirSync } from "node:fs";
import {
  actorProgram,
  maximumSteps,
  reachableSteps,
  stepGraph,
  stepsMap,
  writeRoot,
  writeSteps,
} from "../compiler/steps.ts";
import { openLink, openMap, openProgram } from "../linux/index.ts";
import { selectorsIn, type ActorDescription, type ChainDescription } from "./description.ts";
import { aboutPin, changingPin } from "./pins.ts";

const onlyKey = new Uint8Array(4);

type Wanted = Pick<ChainDescription, "mode" | "selector" | "options"> & {
  /** With the number that each had before. */
  readonly actors: readonly (ActorDescription & { readonly origin?: number | undefined })[];
};

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** Whether a running chain becomes `wanted` by having packets pass fewer or more of its actors, and only by that. */
export function isRelinked(old: ChainDescription, wanted: Wanted): boolean {
  if (old.mode !== "linked" || wanted.mode !== "linked" || !old.decision) return false;
  if (old.layout.state.some(({ host }) => host !== undefined)) return false;
  if (!same([old.selector, old.options], [wanted.selector, wanted.options])) return false;
  if (old.actors.length !== wanted.actors.length) return false;
  const isSame = wanted.actors.every(({ origin, given }, i) => origin === i && same(old.actors[i].given, given));
  const toggled = wanted.actors.filter(({ disabled }, i) => disabled !== old.actors[i].disabled);
  return isSame && toggled.length > 0 && toggled.every(({ on }) => on !== "socket");
}

/** Pins what a chain consists of, but for its description, in another directory as well. */
export function pinAgain(from: string, to: string): void {
  for (const pin of readdirSync(from)) {
    if (pin === aboutPin || pin === changingPin) continue;
    const open = pin.startsWith("link_") ? openLink : pin.startsWith("map_") ? openMap : openProgram;
    const object = open(`${from}/${pin}`);
    try {
      object.pin(`${to}/${pin}`);
    } finally {
      object.close();
    }
  }
}

/** Lets packets pass the actors that the description does not call disabled. Does nothing where they do already. */
export function applySteps(directory: string, { layout, actors, decision, selector }: ChainDescription): void {
  if (!decision) return;
  const selectors = selectorsIn(selector).filter(({ disabled }) => !disabled).length;
  const enabled = actors.flatMap(({ on, disabled }, i) => (on === "socket" || disabled ? [] : [i]));
  const map = openMap(`${directory}/map_${stepsMap}`);
  try {
    const value = map.lookup(onlyKey)!;
    const used = reachableSteps(value);
    const passed = new Set([...used.values()].filter((program) => program >= actorProgram(selectors, 0)));
    if (passed.size === enabled.length && enabled.every((actor) => passed.has(actorProgram(selectors, actor)))) return;
    // No packet is at a step that is not reachable: those of the last change were waited for when its pins went.
    const free = Array.from({ length: maximumSteps - 1 }, (_, i) => i + 1).filter((number) => !used.has(number));
    const graph = stepGraph(layout, decision, enabled, free);
    writeSteps(value, graph.steps);
    map.update(onlyKey, value);
    writeRoot(value, graph.first);
    map.update(onlyKey, value);
  } finally {
    map.close();
  }
}
