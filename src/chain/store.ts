/**
 * Where submitted chains live: one directory each below the BPF file system. A chain is made in a directory of its own and
 * moved into place in one step, so that it is there whole or not at all; what takes its place later is made beside it and
 * exchanged with it in one step, and goes the same way when it is removed. What a process that died left half made is
 * removed by the next one that looks.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmdirSync, statSync, unlinkSync } from "node:fs";
import { basename, dirname } from "node:path";
import { programArrayPrefix } from "../compiler/steps.ts";
import {
  ensurePinDirectory,
  exchangePins,
  findBpffs,
  lockDirectory,
  openLink,
  openMap,
  startTimeOf,
  waitForPrograms,
  type DirectoryLock,
} from "../linux/index.ts";
import { decodeDescription, foreignDescription, UnknownVersionError, type ChainDescription } from "./description.ts";

export const chainsFolder = "emptcp/chains";
export const makingFolder = "emptcp/making";
/** State that all chains of the host share; see host-state.ts. */
export const sharedFolder = "emptcp/shared";
/** The pinned map that holds the description. */
export const aboutPin = "about";
/** Another pin of it, there from the moment a chain takes another one's place until all its links have its programs. */
export const changingPin = "changing";

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
        `Put this one in its place (emptcp chain apply --replace), remove it first (emptcp chain remove ${chain}), ` +
        "or give this one another name",
    );
  }
}

/** Somebody else is changing the chain, and takes long. */
export class ChainBusyError extends Error {
  override readonly name = "ChainBusyError";
  constructor(chain: string) {
    super(`Cannot change chain ${chain}: another process has been changing it for ${PATIENCE_MS / 1000} s. Try again`);
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
  } catch (error) {
    if (error instanceof UnknownVersionError)
      return foreignDescription(nameIn(directory), error.version, readdirSync(directory));
    throw error;
  } finally {
    about.close();
  }
}

/** How long to wait for others that change the same chain: they take milliseconds, on a busy machine more. */
const PATIENCE_MS = 20_000;

/**
 * Keeps all others from changing a chain until it is released, or this process ends.
 * @throws NoSuchChainError; ChainBusyError
 */
export function lockChain(name: string, patienceMs: number = PATIENCE_MS): DirectoryLock {
  const directory = chainDirectory(name);
  if (!directory) throw new NoSuchChainError(name);
  return lockAt(directory, patienceMs);
}

/** The same for the chain in a directory that is known already. */
export function lockAt(directory: string, patienceMs: number = PATIENCE_MS): DirectoryLock {
  const lock = lockIfThere(directory, patienceMs);
  if (lock === "gone") throw new NoSuchChainError(nameIn(directory));
  if (!lock) throw new ChainBusyError(nameIn(directory));
  return lock;
}

/** The same at once or not at all. */
export function tryLockChain(name: string): DirectoryLock | undefined {
  const directory = chainDirectory(name);
  const lock = directory && lockIfThere(directory, 0);
  return lock === "gone" || lock === "" ? undefined : lock;
}

function lockIfThere(directory: string, patienceMs: number): DirectoryLock | "gone" | undefined {
  try {
    return lockDirectory(directory, patienceMs);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "gone";
    throw error;
  }
}

/** A directory to pin a chain's objects in; `commit` moves it into place. */
export interface PinTransaction {
  readonly directory: string;
  /** @throws ChainExistsError when another process was faster */
  commit(): string;
  rollback(): void;
}

/** What is under way in a directory of the making folder. */
type Undertaking = "submit" | "change" | "remove";
const undertakingPattern = /^(\d+)-(\d+)-(?:(change|remove)\+)?([\w-]+)$/;

interface Making {
  readonly directory: string;
  readonly name: string;
  readonly undertaking: Undertaking;
  /** The process that is at it still runs. */
  readonly alive: boolean;
}

function makingPath(folder: string, undertaking: Undertaking, name: string): string {
  const prefix = undertaking === "submit" ? "" : `${undertaking}+`;
  return `${folder}/${process.pid}-${startTimeOf(process.pid)}-${prefix}${name}`;
}

/** Everything in the making folder. */
function makings(): Making[] {
  const root = findBpffs();
  const folder = root && `${root}/${makingFolder}`;
  if (!folder || !isThere(folder)) return [];
  return readdirSync(folder).flatMap((entry) => {
    const match = undertakingPattern.exec(entry);
    if (!match) return [];
    const [, pid, started, undertaking = "submit", name] = match;
    const alive = startTimeOf(Number(pid)) === started;
    return [{ directory: `${folder}/${entry}`, name, undertaking: undertaking as Undertaking, alive }];
  });
}

/** The name of the chain in a directory of ours, wherever it is. */
function nameIn(directory: string): string {
  const entry = basename(directory);
  return basename(dirname(directory)) === "making" ? (undertakingPattern.exec(entry)?.[4] ?? entry) : entry;
}

function makeDirectory(undertaking: Undertaking, name: string): string {
  return inFolder(makingFolder, (folder) => {
    const path = makingPath(folder, undertaking, name);
    mkdirSync(path, { mode: 0o700 });
    return path;
  });
}

/** @throws ChainExistsError */
export function beginPins(name: string): PinTransaction {
  checkChainName(name);
  if (chainDirectory(name)) throw new ChainExistsError(name);
  const directory = makeDirectory("submit", name);
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

/**
 * A directory for what is to take a chain's place; `commit` exchanges the two, and what was the chain is then in `directory`.
 * The caller holds the chain's lock.
 */
export function beginChange(name: string): PinTransaction & { release(): void } {
  const directory = makeDirectory("change", name);
  let lock: DirectoryLock | undefined;
  return {
    directory,
    commit: () => {
      const path = chainDirectory(name);
      if (!path) throw new NoSuchChainError(name);
      // The lock is the directory's: whoever looks from now on must find the new one locked too.
      lock = lockDirectory(directory, 0);
      exchangePins(directory, path);
      return path;
    },
    rollback: () => removePins(directory, linkIds(chainDirectory(name))),
    release: () => lock?.release(),
  };
}

/** Does something in one of our folders; again, should another process have tidied the folder away meanwhile. */
export function inFolder<T>(name: string, action: (folder: string) => T): T {
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
  for (const folder of [makingFolder, chainsFolder, sharedFolder, "emptcp"]) {
    try {
      rmdirSync(`${root}/${folder}`);
    } catch {
      // Not empty: other chains are there.
    }
  }
}

/** The ids of the links pinned in a directory. */
function linkIds(directory: string | undefined): Set<number> {
  const ids = new Set<number>();
  for (const pin of directory && isThere(directory) ? readdirSync(directory) : []) {
    if (!pin.startsWith("link_")) continue;
    const link = openLink(`${directory}/${pin}`);
    ids.add(link.info().id);
    link.close();
  }
  return ids;
}

const isProgramArray = (pin: string): boolean => pin.startsWith(`map_${programArrayPrefix}`);

/**
 * Unpins everything in a chain's directory, and the directory; links go first, so that no program runs without its pins.
 * @param sparing ids of links that are pinned elsewhere and stay attached
 */
export function removePins(directory: string, sparing: ReadonlySet<number> = new Set()): void {
  const pins = readdirSync(directory).sort((a, b) => Number(b.startsWith("link_")) - Number(a.startsWith("link_")));
  let isWaiting = pins.some(isProgramArray);
  for (const pin of pins) {
    const path = `${directory}/${pin}`;
    if (pin.startsWith("link_")) detach(path, sparing);
    // The kernel empties a program array with its last pin: packets on their way would not find the rest of the chain.
    else if (isWaiting) {
      waitForPrograms();
      isWaiting = false;
    }
    unlinkSync(path);
  }
  rmdirSync(directory);
  tidy(dirname(dirname(dirname(directory))));
}

function detach(path: string, sparing: ReadonlySet<number>): void {
  const link = openLink(path);
  try {
    if (!sparing.has(link.info().id)) link.detach();
  } catch {
    // Iterators cannot be detached, and a link whose interface is gone is detached already: unpinning is all there is to do.
  } finally {
    link.close();
  }
}

/**
 * Takes a chain out of the list in one step, then its pins; `release` first undoes what its programs did. The caller holds
 * its lock.
 */
export function removeChain(name: string, release: (directory: string) => void): void {
  const path = chainDirectory(name);
  if (!path) throw new NoSuchChainError(name);
  const directory = inFolder(makingFolder, (folder) => {
    const to = makingPath(folder, "remove", name);
    renameSync(path, to);
    return to;
  });
  release(directory);
  removePins(directory);
}

/** Where the version of a chain is that another one has replaced, as long as it is there. */
export function replacedVersions(name: string): string[] {
  return makings().flatMap((one) => (one.undertaking === "change" && one.name === name ? [one.directory] : []));
}

/** Removes what took part in a change of a chain and is no part of it now. The caller holds the chain's lock. */
export function removeReplaced(name: string, directory: string): void {
  removePins(directory, linkIds(chainDirectory(name)));
}

/**
 * Removes what processes that no longer run left half made. `release` first undoes what a directory's programs did; `finish`
 * completes a change that was under way, if it was decided.
 */
export function removeAbandoned(release: (directory: string) => void, finish: (name: string) => void): void {
  for (const { directory, name, undertaking, alive } of makings()) {
    if (alive) continue;
    const lock = undertaking === "change" ? tryLockChain(name) : undefined;
    // Somebody is changing the chain: what was left of an earlier change can wait.
    if (undertaking === "change" && !lock && chainDirectory(name)) continue;
    try {
      if (lock) {
        finish(name);
        removeReplaced(name, directory);
      } else {
        release(directory);
        removePins(directory);
      }
    } finally {
      lock?.release();
    }
  }
}
