/** The members of a set in a chain that runs: listed, added, changed, removed, many at a time. */
import type { ChainLayout } from "../compiler/index.ts";
import type { SetSlot } from "../compiler/sets.ts";
import type { KernelMap, MapEntry } from "../linux/index.ts";
import type { ChainDescription } from "./description.ts";
import { ParameterError, type InputRecord } from "./inputs.ts";
import { changeParams, decodeMember, encodeKeys, encodeMembers, keyText, type MemberRecord } from "./members.ts";

/** A set that has no room for what was to be added. Nothing was changed. */
export class SetFullError extends Error {
  override readonly name = "SetFullError";
  constructor({ name, maxEntries }: SetSlot, has: number, adding: number) {
    super(
      `Cannot add ${adding} members to the set ${name}: it has ${has} and can have ${maxEntries}, ` +
        `so that there is room for ${Math.max(0, maxEntries - has)}; nothing was changed. ` +
        "Remove some, or replace the chain by one whose set has a larger max: it keeps them",
    );
  }
}

/** How the running chain gets at a set. */
export interface SetAccess {
  /** Opens the map, and closes it afterwards. */
  withMap<T>(use: (map: KernelMap) => T): T;
  /**
   * Does `change`, and lets actors on sockets reach those that match now; where it takes members away, they let go of the
   * sockets they had reached first.
   */
  changing(change: () => void, takesAway: boolean): void;
}

/** A set of a chain by its name, or the only one. @throws ParameterError */
export function findSet({ name, layout }: ChainDescription, set?: string): SetSlot {
  const { sets } = layout;
  const found = set === undefined && sets.length === 1 ? sets[0] : sets.find((slot) => slot.name === set);
  if (found) return found;
  if (sets.length === 0)
    throw new ParameterError(`Cannot find a set in chain ${name}: none of its selectors has members`);
  const names = sets.map((slot) => slot.name).join(", ");
  throw new ParameterError(
    set === undefined
      ? `Cannot tell which set of chain ${name} is meant: it has ${names}`
      : `Cannot find the set ${set} in chain ${name}: it has ${names}`,
  );
}

/** An actor's parameters that its members bring along: by name, `SET.FIELD`. */
export function memberParameters({ memberParameters }: ChainLayout, actor: number): Record<string, string> {
  const slots = memberParameters.filter((slot) => slot.actor === actor);
  return Object.fromEntries(slots.map(({ name, set, field }) => [name, `${set}.${field}`]));
}

/** So many members are looked up one by one; for more it is quicker to read them all. */
const fewMembers = 256;

export class RunningMembers {
  readonly slot: SetSlot;
  readonly #access: SetAccess;

  constructor(slot: SetSlot, access: SetAccess) {
    this.slot = slot;
    this.#access = access;
  }

  get name(): string {
    return this.slot.name;
  }

  /** All members, as a person would write them. */
  list(): MemberRecord[] {
    return this.#access.withMap((map) => map.entries().map((entry) => decodeMember(this.slot, entry)));
  }

  /** How many members there are. */
  count(): number {
    return this.#access.withMap((map) => map.entries().length);
  }

  /** A member's parameters, or undefined. */
  get(member: InputRecord): MemberRecord | undefined {
    const [key] = encodeKeys(this.slot, [member], "look up");
    return this.#access.withMap((map) => {
      const value = lookUp(map, [key]).get(keyText(key));
      return value && decodeMember(this.slot, { key, value });
    });
  }

  /**
   * Adds members; those that are there already get the parameters given. Each packet meets a member's old parameters or the
   * new ones.
   * @throws ParameterError that says which member is wrong, SetFullError; nothing is changed then
   */
  add(members: readonly InputRecord[]): void {
    const entries = encodeMembers(this.slot, members, "add");
    this.#change((map) => this.#write(map, entries));
  }

  /**
   * Changes parameters of members that are there.
   * @throws ParameterError that says which member is wrong, or is none; nothing is changed then
   */
  update(members: readonly InputRecord[]): void {
    const keys = encodeKeys(this.slot, members, "change");
    this.#change((map) => {
      const before = lookUp(map, keys);
      const entries = keys.map((key, i) => {
        const value = before.get(keyText(key)) ?? this.#none("change", members[i], i);
        return { key, value: changeParams(this.slot, value, members[i]) };
      });
      map.updateMany(entries);
    });
  }

  /**
   * Removes members; their parameters need not be given.
   * @throws ParameterError that says which member is wrong, or is none; nothing is changed then
   */
  remove(members: readonly InputRecord[]): void {
    const keys = encodeKeys(this.slot, members, "remove");
    this.#change((map) => {
      const before = lookUp(map, keys);
      keys.forEach((key, i) => before.has(keyText(key)) || this.#none("remove", members[i], i));
      map.deleteMany(keys);
    }, true);
  }

  /**
   * Makes these the only members. Those that stay are there all the time.
   * @throws ParameterError that says which member is wrong, SetFullError; nothing is changed then
   */
  replace(members: readonly InputRecord[]): void {
    const entries = encodeMembers(this.slot, members, "replace members by");
    if (entries.length > this.slot.maxEntries) throw new SetFullError(this.slot, 0, entries.length);
    const kept = new Set(entries.map(({ key }) => keyText(key)));
    this.#change((map) => {
      map.deleteMany(map.entries().flatMap(({ key }) => (kept.has(keyText(key)) ? [] : [key])));
      map.updateMany(entries);
    }, true);
  }

  #change(change: (map: KernelMap) => void, takesAway = false): void {
    this.#access.changing(() => this.#access.withMap(change), takesAway);
  }

  #write(map: KernelMap, entries: readonly MapEntry[]): void {
    const before = lookUp(
      map,
      entries.map(({ key }) => key),
    );
    const fresh = entries.filter(({ key }) => !before.has(keyText(key)));
    if (before.all && before.size + fresh.length > this.slot.maxEntries)
      throw new SetFullError(this.slot, before.size, fresh.length);
    try {
      map.updateMany(entries);
    } catch (error) {
      // Full all the same: few were added without counting, or another process was faster.
      map.deleteMany(fresh.map(({ key }) => key));
      map.updateMany(
        entries.flatMap(({ key }) => (before.has(keyText(key)) ? [{ key, value: before.get(keyText(key))! }] : [])),
      );
      const has = map.entries().length;
      throw has + fresh.length > this.slot.maxEntries ? new SetFullError(this.slot, has, fresh.length) : error;
    }
  }

  #none(doing: string, member: InputRecord, index: number): never {
    const what = Object.entries(member).map(([name, value]) => `${name}=${String(value)}`);
    throw new ParameterError(
      `Cannot ${doing} member ${index + 1} of the set ${this.name} (${what.join(" ")}): there is no such member; nothing was changed`,
    );
  }
}

/** Values by key; with `all`, those of every member. */
class Found extends Map<string, Uint8Array> {
  readonly all: boolean;
  constructor(entries: Iterable<readonly [string, Uint8Array]>, all: boolean) {
    super(entries);
    this.all = all;
  }
}

/** What there is of `keys`. A trie looked up by key gives the longest prefix that holds it, so that all are read. */
function lookUp(map: KernelMap, keys: readonly Uint8Array[]): Found {
  if (keys.length > fewMembers || map.type === "lpmTrie")
    return new Found(
      map.entries().map(({ key, value }) => [keyText(key), value]),
      true,
    );
  const found = keys.flatMap((key) => {
    const value = map.lookup(key);
    return value ? [[keyText(key), value] as const] : [];
  });
  return new Found(found, false);
}
