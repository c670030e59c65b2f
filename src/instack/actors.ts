/** The actors in this host's stack: finding them, and tidying up what killed processes left. Any process may. */
import { existsSync } from "node:fs";
import { removeUnusedHostState } from "../chain/host-state.ts";
import { changingPin, type Abandoned } from "../chain/pins.ts";
import { NoSuchInStackError } from "./errors.ts";
import { release, RunningInStack } from "./running.ts";
import { isOwnerless, readStackDescription, stackStore } from "./store.ts";

/** Opens an actor that is registered. @throws NoSuchInStackError */
export function openInStack(name: string): RunningInStack {
  const directory = stackStore.directory(name);
  if (!directory) throw new NoSuchInStackError(name, stackStore.names());
  const running = new RunningInStack(directory, readStackDescription(directory));
  if (existsSync(`${directory}/${changingPin}`)) finishChange(name);
  return running;
}

/** If the one who replaces it is gone, the replacement is completed; else it completes it itself. */
function finishChange(name: string): void {
  const lock = stackStore.tryLock(name);
  if (!lock) return;
  try {
    const directory = stackStore.directory(name);
    if (directory) new RunningInStack(directory, readStackDescription(directory)).finishChange();
  } finally {
    lock.release();
  }
}

/** What dead processes have left in the stack. */
export interface StackLeftovers {
  /** Halves of actors, of changes, of removals. */
  readonly halves: readonly Abandoned[];
  /** Names of actors that were to go with a process that is gone. */
  readonly ownerless: readonly string[];
}

export function stackLeftovers(): StackLeftovers {
  const ownerless = stackStore.names().filter((name) => {
    const directory = stackStore.directory(name);
    return directory !== undefined && isOwnerless(readStackDescription(directory));
  });
  return { halves: stackStore.abandoned(), ownerless };
}

/** Removes what dead processes have left. Sockets that use it get the base. */
export function cleanUpStack(): StackLeftovers {
  const { ownerless } = stackLeftovers();
  for (const name of ownerless) openInStack(name).remove();
  const halves = stackStore.removeAbandoned(
    (directory) => void release(directory),
    (name) => {
      const directory = stackStore.directory(name);
      if (directory) new RunningInStack(directory, readStackDescription(directory)).finishChange();
    },
  );
  if (halves.length > 0) removeUnusedHostState();
  return { halves, ownerless };
}

/** All actors that are registered, by name. */
export function listInStack(): RunningInStack[] {
  cleanUpStack();
  return stackStore.names().map(openInStack);
}
