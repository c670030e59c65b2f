/** Programs that share maps, made all or none. */
import type { MapSpec, ProgramSpec } from "../bpf/spec.ts";
import { createMap, type KernelMap } from "./maps.ts";
import { loadProgram, type KernelProgram } from "./programs.ts";

export interface CollectionSpec {
  /** By a name of the caller's choice. */
  readonly programs: Readonly<Record<string, ProgramSpec>>;
  /** Further maps, not named by any program, or maps of programs under the same key. */
  readonly maps?: Readonly<Record<string, MapSpec>>;
  /** What program arrays hold: by the key of the map, and in the order of their indices, keys of programs. */
  readonly programArrays?: Readonly<Record<string, readonly (string | undefined)[]>>;
}

/** Closing it closes its programs and maps. */
export interface Collection extends Disposable {
  readonly programs: Readonly<Record<string, KernelProgram>>;
  readonly maps: Readonly<Record<string, KernelMap>>;
  close(): void;
}

/**
 * Makes the maps, then loads the programs. Programs that name a map by the same key share it.
 * @param existing maps to use instead of making them, by key; they stay open when the collection closes
 * @throws TypeError when two programs mean different maps by one key; VerifierError and KernelError from loading
 */
export function loadCollection(spec: CollectionSpec, existing: Readonly<Record<string, KernelMap>> = {}): Collection {
  const mapSpecs = mergeMapSpecs(spec);
  const owned: (KernelMap | KernelProgram)[] = [];
  const maps: Record<string, KernelMap> = { ...existing };
  const programs: Record<string, KernelProgram> = {};
  const close = () => {
    for (const object of owned.toReversed()) object.close();
  };
  try {
    for (const [key, mapSpec] of mapSpecs) {
      if (maps[key]) continue;
      maps[key] = createMap(mapSpec);
      owned.push(maps[key]);
    }
    for (const [key, programSpec] of Object.entries(spec.programs)) {
      programs[key] = loadProgram(programSpec, maps);
      owned.push(programs[key]);
    }
    for (const [key, entries] of Object.entries(spec.programArrays ?? {}))
      entries.forEach((program, index) => program !== undefined && putProgram(maps[key], index, programs[program]));
  } catch (error) {
    close();
    throw error;
  }
  return { programs, maps, close, [Symbol.dispose]: close };
}

/** Lets tail calls to an index of a program array go to `program`. */
export function putProgram(array: KernelMap, index: number, program: KernelProgram): void {
  const [key, value] = [index, program.fd].map((number) => new Uint8Array(Uint32Array.of(number).buffer));
  array.update(key, value);
}

function mergeMapSpecs(spec: CollectionSpec): Map<string, MapSpec> {
  const merged = new Map(Object.entries(spec.maps ?? {}));
  for (const program of Object.values(spec.programs)) {
    for (const [key, mapSpec] of Object.entries(program.maps)) {
      const known = merged.get(key);
      if (known && shape(known) !== shape(mapSpec)) {
        throw new TypeError(`Cannot share map ${key}: ${shape(known)} and ${shape(mapSpec)} are both called so`);
      }
      if (!known) merged.set(key, mapSpec);
    }
  }
  return merged;
}

function shape({ type, keySize, valueSize, maxEntries, flags = 0 }: MapSpec): string {
  return `${type} (key ${keySize} B, value ${valueSize} B, ${maxEntries} entries, flags ${flags})`;
}
