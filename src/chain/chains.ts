/** The chains of this machine: finding them, and tidying up what killed processes left. Any process may. */
import { isChanging } from "./generations.ts";
import { removeUnusedHostState } from "./host-state.ts";
import type { Abandoned } from "./pins.ts";
import { releaseSockets, RunningChain } from "./running.ts";
import {
  chainDirectory,
  chainNames,
  NoSuchChainError,
  readDescription,
  removeAbandoned,
  tryLockChain,
} from "./store.ts";

/** Opens a submitted chain. @throws NoSuchChainError */
export function openChain(name: string): RunningChain {
  const directory = chainDirectory(name);
  if (!directory) throw new NoSuchChainError(name);
  const running = new RunningChain(directory, readDescription(directory));
  if (isChanging(directory)) {
    // If the one who changes it is gone, its change is completed; else it completes it itself.
    const lock = tryLockChain(name);
    if (lock) {
      try {
        running.finishChange();
      } finally {
        lock.release();
      }
    }
  }
  return running;
}

/**
 * Removes what killed processes left half made, and lets go of the sockets they had reached.
 * @returns what it removed: halves of chains, and host-wide state by name
 */
export function cleanUp(): { chains: Abandoned[]; hostState: string[] } {
  const chains = removeAbandoned(releaseSockets, (name) => {
    const directory = chainDirectory(name);
    if (directory) new RunningChain(directory, readDescription(directory)).finishChange();
  });
  return { chains, hostState: removeUnusedHostState() };
}

const priority = ({ description }: RunningChain) => description.options.priority ?? 0;
const submitted = ({ description }: RunningChain) => description.submitted;

/** All submitted chains, in the order they run where they share a hook. */
export function listChains(): RunningChain[] {
  cleanUp();
  return chainNames()
    .map(openChain)
    .sort(
      (a, b) => priority(a) - priority(b) || submitted(a).localeCompare(submitted(b)) || a.name.localeCompare(b.name),
    );
}
