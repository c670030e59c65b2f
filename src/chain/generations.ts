/** The steps by which a chain that was put in another one's place comes into force; also when they were interrupted. */
import { existsSync, unlinkSync } from "node:fs";
import { openLink, openProgram } from "../linux/index.ts";
import type { Attachment, ChainDescription } from "./description.ts";
import { changingPin } from "./pins.ts";
import { readDescription, replacedVersions } from "./store.ts";

/** Whether links of the chain in a directory may still have the programs of the one before. */
export function isChanging(directory: string): boolean {
  return existsSync(`${directory}/${changingPin}`);
}

export const programPin = (hook: string): string => `prog_${hook}`;

/** Hooks whose links are made anew each time: nothing runs unless they are read. */
export const isIterator = (hook: string): boolean => hook.startsWith("iter_");

/** Gives each link the program that belongs to it. Those whose interface is gone stay as they are. */
export function updateLinks(directory: string, attachments: readonly Attachment[]): void {
  for (const { hook, pin } of attachments) {
    if (isIterator(hook)) continue;
    const link = openLink(`${directory}/${pin}`);
    const program = openProgram(`${directory}/${programPin(hook)}`);
    try {
      const { programId, interfaceIndex } = link.info();
      if (interfaceIndex !== 0 && programId !== program.info().id) link.update(program);
    } finally {
      program.close();
      link.close();
    }
  }
}

/** The versions that a chain has replaced, as far as they are still there; drafts that never came into force are not among them. */
export function versionsBefore({
  name,
  generation,
}: ChainDescription): { directory: string; description: ChainDescription }[] {
  return replacedVersions(name).flatMap((directory) => {
    try {
      const description = readDescription(directory);
      return description.generation < generation ? [{ directory, description }] : [];
    } catch {
      // A draft whose process died before it said what it is.
      return [];
    }
  });
}

/** Says that all links have their programs. */
export function endChange(directory: string): void {
  unlinkSync(`${directory}/${changingPin}`);
}
