/**
 * Stores of pinned objects: directories below the BPF file system, one for each chain, one for each actor in the stack. What
 * goes into a store is made in a directory of its own and moved into place in one step, so that it is there whole or not at
 * all; what takes its place later is made beside it and exchanged with it in one step, and goes the same way when it is
 * removed. What a process that died left half made is removed by the next one that looks.
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
  startTimeOf,
  waitForPrograms,
  type DirectoryLock,
} from "../linux/index.ts";

export const chainsFolder = "emptcp/chains";
export const stackFolder = "emptcp/stack";
export const makingFolder = "emptcp/making";
/** State that all chains and actors of the host share; see host-state.ts. */
export const sharedFolder = "emptcp/shared";
/** The pinned map that holds a description. */
export const aboutPin = "about";
/** Another pin of it, there from the moment something takes another one's place until it is wholly in force. */
export const changingPin = "changing";

/** How long to wait for others that change the same thing: they take milliseconds, on a busy machine more. */
export const PATIENCE_MS = 20_000;

/** A directory to pin objects in; `commit` moves it into place. */
export interface PinTransaction {
  readonly directory: string;
  /** @throws what the store throws when another process was faster */
  commit(): string;
  rollback(): void;
}

/** What is under way in a directory of the making folder. */
export type Undertaking = "submit" | "change" | "remove";

/** What a process that no longer runs has left half made. */
export interface Abandoned {
  readonly directory: string;
  readonly name: string;
  readonly undertaking: Undertaking;
}

interface Making extends Abandoned {
  /** The process that is at it still runs. */
  readonly alive: boolean;
}

/** Where the things of one kind are, and the errors that tell of them. */
export interface StoreOptions {
  readonly folder: string;
  /** What their directories in the making folder begin with, to be told from other kinds'; nothing for chains. */
  readonly mark?: "stack";
  readonly names: RegExp;
  readonly exists: (name: string) => Error;
  readonly missing: (name: string) => Error;
  readonly busy: (name: string) => Error;
}

const makingPattern = /^(\d+)-(\d+)-(?:(change|remove)\+)?(?:(stack)\+)?([\w-]+)$/;

/** Things of one kind, each in a directory. */
export class PinStore {
  readonly #options: StoreOptions;

  constructor(options: StoreOptions) {
    this.#options = options;
  }

  /** The directory of what has this name, or undefined when there is nothing. */
  directory(name: string): string | undefined {
    const root = findBpffs();
    const path = root && `${root}/${this.#options.folder}/${name}`;
    return path && this.#options.names.test(name) && isThere(path) ? path : undefined;
  }

  names(): string[] {
    const root = findBpffs();
    const folder = root && `${root}/${this.#options.folder}`;
    return folder && isThere(folder) ? readdirSync(folder).sort() : [];
  }

  /** Keeps all others from changing the thing until it is released, or this process ends. @throws as the options say */
  lock(name: string, patienceMs: number = PATIENCE_MS): DirectoryLock {
    const directory = this.directory(name);
    if (!directory) throw this.#options.missing(name);
    return this.lockAt(directory, patienceMs);
  }

  /** The same for what is in a directory that is known already. */
  lockAt(directory: string, patienceMs: number = PATIENCE_MS): DirectoryLock {
    const lock = lockIfThere(directory, patienceMs);
    if (lock === "gone") throw this.#options.missing(nameIn(directory));
    if (!lock) throw this.#options.busy(nameIn(directory));
    return lock;
  }

  /** The same at once or not at all. */
  tryLock(name: string): DirectoryLock | undefined {
    const directory = this.directory(name);
    const lock = directory && lockIfThere(directory, 0);
    return lock === "gone" || lock === "" ? undefined : lock;
  }

  begin(name: string): PinTransaction {
    const { folder, exists } = this.#options;
    if (this.directory(name)) throw exists(name);
    const directory = this.#makeDirectory("submit", name);
    return {
      directory,
      commit: () =>
        inFolder(folder, (parent) => {
          const path = `${parent}/${name}`;
          try {
            renameSync(directory, path);
          } catch (cause) {
            if (existsSync(path)) throw exists(name);
            throw cause;
          }
          return path;
        }),
      rollback: () => removePins(directory),
    };
  }

  /**
   * A directory for what is to take a thing's place; `commit` exchanges the two, and what was there is then in `directory`.
   * The caller holds the lock when it commits.
   */
  beginChange(name: string): PinTransaction & { release(): void } {
    const directory = this.#makeDirectory("change", name);
    let lock: DirectoryLock | undefined;
    return {
      directory,
      commit: () => {
        const path = this.directory(name);
        if (!path) throw this.#options.missing(name);
        // The lock is the directory's: whoever looks from now on must find the new one locked too.
        lock = lockDirectory(directory, 0);
        exchangePins(directory, path);
        return path;
      },
      rollback: () => this.removeReplaced(name, directory),
      release: () => lock?.release(),
    };
  }

  /**
   * Takes a thing out of the store in one step, then its pins; `release` first undoes what its programs did. The caller
   * holds its lock.
   */
  remove(name: string, release: (directory: string) => void): void {
    const path = this.directory(name);
    if (!path) throw this.#options.missing(name);
    const directory = inFolder(makingFolder, (folder) => {
      const to = this.#makingPath(folder, "remove", name);
      renameSync(path, to);
      return to;
    });
    release(directory);
    removePins(directory);
  }

  /** Where the version is that another one has replaced, as long as it is there. */
  replacedVersions(name: string): string[] {
    return this.#makings().flatMap((one) => (one.undertaking === "change" && one.name === name ? [one.directory] : []));
  }

  /** Removes what took part in a change and is no part of the thing now. The caller holds its lock. */
  removeReplaced(name: string, directory: string): void {
    removePins(directory, linkIds(this.directory(name)));
  }

  /** What processes that no longer run have left half made. */
  abandoned(): Abandoned[] {
    return this.#makings().filter(({ alive }) => !alive);
  }

  /**
   * Removes what processes that no longer run left half made. `release` first undoes what a directory's programs did;
   * `finish` completes a change that was under way, if it was decided. @returns what was removed
   */
  removeAbandoned(release: (directory: string) => void, finish: (name: string) => void): Abandoned[] {
    return this.abandoned().filter(({ directory, name, undertaking }) => {
      const lock = undertaking === "change" ? this.tryLock(name) : undefined;
      // Somebody is changing it: what was left of an earlier change can wait.
      if (undertaking === "change" && !lock && this.directory(name)) return false;
      try {
        if (lock) {
          finish(name);
          this.removeReplaced(name, directory);
        } else {
          release(directory);
          removePins(directory);
        }
      } finally {
        lock?.release();
      }
      return true;
    });
  }

  #makingPath(folder: string, undertaking: Undertaking, name: string): string {
    const { mark } = this.#options;
    const prefix = `${undertaking === "submit" ? "" : `${undertaking}+`}${mark === undefined ? "" : `${mark}+`}`;
    return `${folder}/${process.pid}-${startTimeOf(process.pid)}-${prefix}${name}`;
  }

  #makeDirectory(undertaking: Undertaking, name: string): string {
    return inFolder(makingFolder, (folder) => {
      const path = this.#makingPath(folder, undertaking, name);
      mkdirSync(path, { mode: 0o700 });
      return path;
    });
  }

  /** Everything of this kind in the making folder. */
  #makings(): Making[] {
    const root = findBpffs();
    const folder = root && `${root}/${makingFolder}`;
    if (!folder || !isThere(folder)) return [];
    return readdirSync(folder).flatMap((entry) => {
      const match = makingPattern.exec(entry);
      if (!match || match[4] !== this.#options.mark) return [];
      const [, pid, started, undertaking = "submit", , name] = match;
      const alive = startTimeOf(Number(pid)) === started;
      return [{ directory: `${folder}/${entry}`, name, undertaking: undertaking as Undertaking, alive }];
    });
  }
}

/** The name of what is in a directory of ours, wherever it is. */
export function nameIn(directory: string): string {
  const entry = basename(directory);
  return basename(dirname(directory)) === "making" ? (makingPattern.exec(entry)?.[5] ?? entry) : entry;
}

/** @throws Error where this user may not look: that something cannot be seen does not mean that there is none */
function isThere(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch (cause) {
    throw new Error(`Cannot look into ${path}: ${(cause as NodeJS.ErrnoException).code}. Run as root`, { cause });
  }
}

function lockIfThere(directory: string, patienceMs: number): DirectoryLock | "gone" | undefined {
  try {
    return lockDirectory(directory, patienceMs);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "gone";
    throw error;
  }
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

/** Removes our folders when the last thing is gone. */
function tidy(root: string): void {
  for (const folder of [makingFolder, chainsFolder, stackFolder, sharedFolder, "emptcp"]) {
    try {
      rmdirSync(`${root}/${folder}`);
    } catch {
      // Not empty: other things are there.
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
 * Unpins everything in a directory, and the directory; links go first, so that no program runs without its pins.
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
