/** What has to be undone when the command ends, however it ends: by itself, by an error, by Ctrl-C. */

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
const pending = new Set<() => void>();

/** Calls `undo` when the process ends, unless the function returned was called before: that does it now. */
export function undoAtExit(undo: () => void): () => void {
  if (pending.size === 0) {
    process.on("exit", undoAll);
    for (const signal of signals) process.on(signal, onSignal);
  }
  pending.add(undo);
  return () => {
    if (!pending.delete(undo)) return;
    if (pending.size === 0) stopWatching();
    undo();
  };
}

function stopWatching(): void {
  process.off("exit", undoAll);
  for (const signal of signals) process.off(signal, onSignal);
}

function undoAll(): void {
  // The last first: what came later may stand on what came before.
  for (const undo of [...pending].reverse()) {
    pending.delete(undo);
    try {
      undo();
    } catch (error) {
      console.error(error);
    }
  }
}

function onSignal(signal: NodeJS.Signals): void {
  undoAll();
  stopWatching();
  // A lab ends the process itself when it has closed; without one the signal does what it would have done.
  if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
}
