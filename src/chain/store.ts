/** Where submitted chains live: one directory each below the BPF file system; see pins.ts. */
import { openMap, type DirectoryLock } from "../linux/index.ts";
import { decodeDescription, foreignDescription, UnknownVersionError, type ChainDescription } from "./description.ts";
import { aboutPin, chainsFolder, nameIn, PATIENCE_MS, PinStore, type Abandoned, type PinTransaction } from "./pins.ts";
import { readdirSync } from "node:fs";

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

const store = new PinStore({
  folder: chainsFolder,
  names: namePattern,
  exists: (name) => new ChainExistsError(name),
  missing: (name) => new NoSuchChainError(name),
  busy: (name) => new ChainBusyError(name),
});

/** The directory of a submitted chain, or undefined when there is none. */
export function chainDirectory(name: string): string | undefined {
  return store.directory(name);
}

/** The names of all submitted chains. */
export function chainNames(): string[] {
  return store.names();
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

/**
 * Keeps all others from changing a chain until it is released, or this process ends.
 * @throws NoSuchChainError; ChainBusyError
 */
export function lockChain(name: string): DirectoryLock {
  return store.lock(name);
}

/** The same for the chain in a directory that is known already. */
export function lockAt(directory: string): DirectoryLock {
  return store.lockAt(directory);
}

/** The same at once or not at all. */
export function tryLockChain(name: string): DirectoryLock | undefined {
  return store.tryLock(name);
}

/** @throws ChainExistsError, also when it commits; RangeError */
export function beginPins(name: string): PinTransaction {
  checkChainName(name);
  return store.begin(name);
}

/** The caller holds the chain's lock when it commits. */
export function beginChange(name: string): PinTransaction & { release(): void } {
  return store.beginChange(name);
}

/** The caller holds the chain's lock. */
export function removeChain(name: string, release: (directory: string) => void): void {
  store.remove(name, release);
}

/** Where the version of a chain is that another one has replaced, as long as it is there. */
export function replacedVersions(name: string): string[] {
  return store.replacedVersions(name);
}

/** Removes what took part in a change of a chain and is no part of it now. The caller holds the chain's lock. */
export function removeReplaced(name: string, directory: string): void {
  store.removeReplaced(name, directory);
}

/** Chains that processes left half made, changed or removed when they died. */
export function abandonedChains(): Abandoned[] {
  return store.abandoned();
}

export function removeAbandoned(release: (directory: string) => void, finish: (name: string) => void): Abandoned[] {
  return store.removeAbandoned(release, finish);
}
