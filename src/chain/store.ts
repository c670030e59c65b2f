/**
 * Where submitted chains live: one directory each below the BPF file system. A chain is made in a directory of its own and
 * moved into place in one step, so that it is there whole or not at all; what a process that died left half made is
 * removed by the next one that looks.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmdirSync, statSync, unlinkSync } from "node:fs";
import { dirname } from "node:path";
import { ensurePinDirectory, findBpffs, openLink, openMap, startTimeOf } from "../linux/index.ts";
import { decodeDescription, type ChainDescription } from "./description.ts";

const chainsFolder = "emptcp/chains";
const makingFolder = "emptcp/making";
/** The pinned map that holds the description. */
export const aboutPin = "about";

const namePattern = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;

/** @throws RangeError; the BPF file system allows no dots */
export function checkChainName(name: string): void {
  if (!namePattern.test(name))
    throw new RangeError(
      `Cannot name a chain "${name}": use letters, digits, - and _, at most 64, starting with a letter or digit`,
    );
}

export class ChainExistsError extends Error {
  override readonly name = "ChainExistsError";
  constructor(chain: string) {
    super(
      `Cannot submit chain ${chain}: a chain of that name is attached already. ` +
        `Remove it first (emptcp chain remove ${chain}), change it (emptcp chain set), or give this one another name`,
    );
  }
}

export class NoSuchChainError extends Error {
  override readonly name = "NoSuchChainError";
  constructor(chain: string) {
    const names = chainNames();
    super(`Cannot find chain ${chain}: ${names.length > 0 ? `there are ${names.join(", ")}` : "none is attached"}`);
  }
}

/** The directory of a submitted chain, or undefined when there is none. */
export function chainDirectory(name: string): string | undefined {
  const root = findBpffs();
  const path = root && `${root}/${chainsFolder}/${name}`;
  return path && namePattern.test(name) && isThere(path) ? path : undefined;
}

/** The names of all submitted chains. */
export function chainNames(): string[] {
  const root = findBpffs();
  const folder = root && `${root}/${chainsFolder}`;
  return folder && isThere(folder) ? readdirSync(folder).sort() : [];
}

/** @throws Error where this user may not look: that a chain cannot be seen does not mean that there is none */
function isThere(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch (cause) {
    throw new Error(`Cannot look for chains in ${path}: ${(cause as NodeJS.ErrnoException).code}. Run as root`, {
      cause,
    });
  }
}

export function readDescription(directory: string): ChainDescription {
  const about = openMap(`${directory}/${aboutPin}`);
  try {
    return decodeDescription(about.lookup(new Uint8Array(4))!);
  } finally {
    about.close();
  }
}

/** A directory to pin a chain's objects in; `commit` moves it into place. */
export interface PinTransaction {
  readonly directory: string;
  /** @throws ChainExistsError when another process was faster */
  commit(): string;
  rollback(): void;
}

/** @throws ChainExistsError */
export function beginPins(name: string): PinTransaction {
  checkChainName(name);
  if (chainDirectory(name)) throw new ChainExistsError(name);
  const directory = inFolder(makingFolder, (folder) => {
    const path = `${folder}/${process.pid}-${startTimeOf(process.pid)}-${name}`;
    mkdirSync(path, { mode: 0o700 });
    return path;
  });
  return {
    directory,
    commit: () =>
      inFolder(chainsFolder, (folder) => {
        const path = `${folder}/${name}`;
        try {
          renameSync(directory, path);
        } catch (cause) {
          if (existsSync(path)) throw new ChainExistsError(name);
          throw cause;
        }
        return path;
      }),
    rollback: () => removePins(directory),
  };
}

/** Does something in one of our folders; again, should another process have tidied the folder away meanwhile. */
function inFolder<T>(name: string, action: (folder: string) => T): T {
  for (let attempt = 1; ; attempt++) {
    try {
      return action(ensurePinDirectory(name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT" || attempt === 3) throw error;
    }
  }
}

/** Removes our folders when the last chain is gone. */
function tidy(root: string): void {
  for (const folder of [makingFolder, chainsFolder, "emptcp"]) {
    try {
      rmdirSync(`${root}/${folder}`);
    } catch {
      // Not empty: other chains are there.
    }
  }
}

/** Unpins everything in a chain's directory, and the directory; links go first, so that no program runs without its pins. */
export function removePins(directory: string): void {
  const pins = readdirSync(directory).sort((a, b) => Number(b.startsWith("link_")) - Number(a.startsWith("link_")));
  for (const pin of pins) {
    const path = `${directory}/${pin}`;
    if (pin.startsWith("link_")) detach(path);
    unlinkSync(path);
  }
  rmdirSync(directory);
  tidy(dirname(dirname(dirname(directory))));
}

function detach(path: string): void {
  const link = openLink(path);
  try {
    link.detach();
  } catch {
    // Iterators cannot be detached, and a link whose interface is gone is detached already: unpinning is all there is to do.
  } finally {
    link.close();
  }
}

/** Removes what processes that no longer run left half made; `release` first undoes what a directory's programs did. */
export function removeAbandoned(release: (directory: string) => void): void {
  const root = findBpffs();
  const folder = root && `${root}/${makingFolder}`;
  if (!folder || !isThere(folder)) return;
  for (const entry of readdirSync(folder)) {
    const [pid, started] = entry.split("-");
    if (startTimeOf(Number(pid)) === started) continue;
    release(`${folder}/${entry}`);
    removePins(`${folder}/${entry}`);
  }
}
