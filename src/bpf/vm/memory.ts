/**
 * The address space of a run. A 64-bit address is a region (upper half) and a place in it (lower half), so pointers can be
 * compared, added to and subtracted like the kernel's, and no arithmetic leads from one region into another.
 */

/** Upper half of the addresses of region 0. */
const FIRST_REGION = 0x8000_0000;
/** Lower half of the address of a region's byte 0; leaves room for pointers that are moved below it and back. */
export const REGION_BASE = 0x1000_0000;

/** The two halves of an address, unsigned. */
export interface Address {
  readonly low: number;
  readonly high: number;
}

/** Reads and writes of a region that is not plain memory (the context). The result of a load is in `low` and `high`. */
export interface RegionAccess {
  load(at: number, size: number): Address;
  store(at: number, size: number, low: number, high: number): void;
}

/** A piece of memory a pointer may reach: bytes `start` to `end` of `bytes`. */
export interface Region {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly start: number;
  readonly end: number;
  readonly writable: boolean;
  readonly access?: RegionAccess;
  /** Why the region is gone, once it is. */
  stale?: string;
}

/** Makes a region of all of `bytes`. */
export function region(name: string, bytes: Uint8Array, options: Partial<Region> = {}): Region {
  return {
    name,
    bytes,
    view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength),
    start: 0,
    end: bytes.length,
    writable: true,
    ...options,
  };
}

let runs = 0;

/** Memory that keeps its region while a run lasts, however often a pointer to it is made (a map's value). */
export class Block {
  readonly bytes: Uint8Array;
  readonly name: string;
  private run = 0;
  private high = 0;
  constructor(name: string, bytes: Uint8Array) {
    this.name = name;
    this.bytes = bytes;
  }

  /** The upper half of its addresses in this run. */
  highIn(space: AddressSpace): number {
    if (this.run !== space.run) {
      this.run = space.run;
      this.high = space.add(region(this.name, this.bytes));
    }
    return this.high;
  }
}

export class AddressSpace {
  private readonly regions: Region[] = [];
  private readonly kernel: { find(high: number): Region | undefined };
  /** Number of this run, unique among all runs of all address spaces. */
  run = 0;

  /** @param kernel memory that is there from run to run */
  constructor(kernel: { find(high: number): Region | undefined }) {
    this.kernel = kernel;
  }

  /** Forgets all regions. */
  begin(): void {
    this.regions.length = 0;
    this.run = ++runs;
  }

  /** Adds a region and returns the upper half of its addresses. */
  add(added: Region): number {
    this.regions.push(added);
    return FIRST_REGION + this.regions.length - 1;
  }

  /** The region of an address with this upper half, stale or not. */
  find(high: number): Region | undefined {
    return this.regions[high - FIRST_REGION] ?? this.kernel.find(high);
  }
}
