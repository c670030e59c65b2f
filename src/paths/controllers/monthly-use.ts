/** What interfaces carried in a calendar month (UTC), kept in a file where one is named. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { FileError } from "../../chain/errors.ts";

/** `counter`: where the interface's own counter was when it was looked at last. */
type Entry = { readonly used: number; readonly counter: number };
type Kept = { readonly month: string; readonly boot: string; readonly interfaces: Readonly<Record<string, Entry>> };

const monthNow = (): string => new Date().toISOString().slice(0, 7);
/** Counters of interfaces begin anew with each. */
const bootId = (): string => readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();

export class MonthlyUse {
  readonly #file: string | undefined;
  readonly #entries = new Map<string, Entry>();
  #month = monthNow();

  /** @throws FileError when the file cannot be read or written, or is something else */
  constructor(file: string | undefined) {
    this.#file = file;
    const kept = file === undefined ? undefined : read(file);
    if (kept) {
      const isSameBoot = kept.boot === bootId();
      for (const [name, { used, counter }] of Object.entries(kept.interfaces))
        this.#entries.set(name, { used, counter: isSameBoot ? counter : 0 });
      this.#month = kept.month;
    }
    this.#save();
  }

  /** Bytes of this month, both ways. */
  of(name: string): number {
    return this.#entries.get(name)?.used ?? 0;
  }

  /**
   * Looks at an interface that is counted from the first time on. What passed since the last time counts for the month that is
   * now.
   * @param counter bytes since the interface is there; undefined: it is not there
   * @throws FileError when the file cannot be written
   */
  count(name: string, counter = 0): void {
    const month = monthNow();
    if (month !== this.#month) for (const [key, one] of this.#entries) this.#entries.set(key, { ...one, used: 0 });
    const before = this.#entries.get(name);
    // A counter that is lower than it was began anew.
    const passed = before ? counter - (counter < before.counter ? 0 : before.counter) : 0;
    this.#entries.set(name, { used: (this.#entries.get(name)?.used ?? 0) + passed, counter });
    const isSame = month === this.#month && before?.counter === counter;
    this.#month = month;
    if (!isSame) this.#save();
  }

  #save(): void {
    if (this.#file === undefined) return;
    const kept: Kept = { month: this.#month, boot: bootId(), interfaces: Object.fromEntries(this.#entries) };
    try {
      mkdirSync(dirname(this.#file), { recursive: true });
      // So that who is killed meanwhile leaves the file whole.
      writeFileSync(`${this.#file}.new`, `${JSON.stringify(kept)}\n`);
      renameSync(`${this.#file}.new`, this.#file);
    } catch (cause) {
      throw new FileError(`Cannot keep in ${this.#file} what was used of quotas: ${(cause as Error).message}`, {
        cause,
      });
    }
  }
}

/** @returns undefined where there is no file yet */
function read(file: string): Kept | undefined {
  try {
    const found: unknown = JSON.parse(readFileSync(file, "utf8"));
    if (isKept(found)) return found;
    throw new TypeError("it has not the fields month, boot and interfaces");
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    const remedy = code === undefined ? "; correct it, or remove it to count from 0" : "";
    throw new FileError(`Cannot read from ${file} what was used of quotas: ${message}${remedy}`, { cause });
  }
}

function isKept(found: unknown): found is Kept {
  const { month, boot, interfaces } = (found ?? {}) as Partial<Record<keyof Kept, unknown>>;
  return (
    typeof month === "string" &&
    typeof boot === "string" &&
    typeof interfaces === "object" &&
    Object.values(interfaces ?? {}).every(isEntry)
  );
}

function isEntry(found: unknown): found is Entry {
  const { used, counter } = (found ?? {}) as Partial<Record<keyof Entry, unknown>>;
  return isCount(used) && isCount(counter);
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
