/** A map that remembers which entries a program has asked for, and what they were before. */
import { createMap, VmMap } from "../../bpf/vm/index.ts";
import { toHex } from "../../wire/index.ts";

export interface Touched {
  readonly key: Uint8Array;
  /** What the entry was when it was first asked for; undefined where there was none. */
  readonly before: Uint8Array | undefined;
}

/** Behaves as a map of its spec does; maps with many entries are not to be compared as a whole for each packet. */
export class TouchedMap extends VmMap {
  readonly #map: VmMap;
  #touched = new Map<string, Touched>();

  constructor(spec: VmMap["spec"]) {
    super(spec);
    this.#map = createMap(spec);
  }

  #touch(key: Uint8Array): void {
    const id = toHex(key);
    if (this.#touched.has(id)) return;
    this.#touched.set(id, { key: key.slice(), before: this.#map.find(key)?.bytes.slice() });
  }

  override find(key: Uint8Array): ReturnType<VmMap["find"]> {
    this.#touch(key);
    return this.#map.find(key);
  }

  override set(key: Uint8Array, value: Uint8Array, flags: number): number {
    this.#touch(key);
    return this.#map.set(key, value, flags);
  }

  override remove(key: Uint8Array): number {
    this.#touch(key);
    return this.#map.remove(key);
  }

  override entries(): ReturnType<VmMap["entries"]> {
    return this.#map.entries();
  }

  /** The entries that were asked for since this was called last. */
  takeTouched(): Touched[] {
    const touched = [...this.#touched.values()];
    this.#touched = new Map();
    return touched;
  }

  /** What an entry is now, without asking for it as a program does. */
  now(key: Uint8Array): Uint8Array | undefined {
    return this.#map.find(key)?.bytes.slice();
  }
}
