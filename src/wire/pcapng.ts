/** pcapng files (IETF draft-ietf-opsawg-pcapng): read in both byte orders, written little-endian with nanoseconds. */
import { concatBytes, copyBytes } from "./bytes.ts";
import { WireError } from "./errors.ts";

/** Link types that matter here (the LINKTYPE_ registry). */
export const LinkType = { ethernet: 1, rawIp: 101, cooked: 113, cooked2: 276 } as const;

export interface CaptureInterface {
  readonly linkType: number;
  readonly name?: string;
  /** The most bytes kept of a packet; 0 where there is no limit. */
  readonly snapLength: number;
}

export interface CapturedPacket {
  /** Index into `Capture.interfaces`. */
  readonly interface: number;
  /** Since 1970, in nanoseconds; absent in simple packet blocks, which have none. */
  readonly timestampNs?: bigint;
  /** Length on the wire, in bytes; more than `bytes` holds where the capture cut it. */
  readonly originalLength: number;
  /** Whether the packet came in or went out, where the capture tells. */
  readonly direction?: "ingress" | "egress";
  readonly bytes: Uint8Array;
}

export interface Capture {
  readonly interfaces: readonly CaptureInterface[];
  readonly packets: readonly CapturedPacket[];
}

const BlockType = { sectionHeader: 0x0a0d0d0a, interface: 1, simplePacket: 3, enhancedPacket: 6 } as const;
const OptionCode = { endOfOptions: 0, interfaceName: 2, timestampResolution: 9, timestampOffset: 14 } as const;
/** Options of enhanced packet blocks: `epb_flags`, whose two lowest bits tell the direction. */
const packetFlagsOption = 2;
const directions = [undefined, "ingress", "egress"] as const;
const byteOrderMagic = 0x1a2b3c4d;
const swappedMagic = 0x4d3c2b1a;
/** Type, length, and the length again at the end. */
const blockOverhead = 12;
const nsPerSecond = 1_000_000_000n;
/** Where an interface says nothing: microseconds. */
const defaultResolution = 6;

const pad = (length: number): number => -length & 3;

/** An interface while reading: how its ticks become time, and where it stands in the result. */
interface Clock {
  readonly index: number;
  readonly snapLength: number;
  readonly ticksPerSecond: bigint;
  readonly offsetSeconds: bigint;
}

function refuse(offset: number, reason: string): never {
  throw new WireError("parse", "capture", offset, reason);
}

/** One block, with access that is checked against its end. */
class Block {
  readonly type: number;
  readonly #view: DataView;
  readonly #start: number;
  readonly #littleEndian: boolean;

  constructor(type: number, bytes: Uint8Array, start: number, littleEndian: boolean) {
    this.type = type;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#start = start;
    this.#littleEndian = littleEndian;
  }

  get length(): number {
    return this.#view.byteLength;
  }

  refuse(offset: number, reason: string): never {
    return refuse(this.#start + offset, reason);
  }

  need(offset: number, length: number): void {
    if (offset + length > this.length)
      this.refuse(offset, `block ${this.type} ends ${offset + length - this.length} bytes too early`);
  }

  u8(offset: number): number {
    this.need(offset, 1);
    return this.#view.getUint8(offset);
  }

  u16(offset: number): number {
    this.need(offset, 2);
    return this.#view.getUint16(offset, this.#littleEndian);
  }

  u32(offset: number): number {
    this.need(offset, 4);
    return this.#view.getUint32(offset, this.#littleEndian);
  }

  i64(offset: number): bigint {
    this.need(offset, 8);
    return this.#view.getBigInt64(offset, this.#littleEndian);
  }

  bytes(offset: number, length: number): Uint8Array {
    this.need(offset, length);
    return copyBytes(new Uint8Array(this.#view.buffer, this.#view.byteOffset + offset, length));
  }

  /** Options by code, as offset and length within the block; of repeated ones the last. */
  options(start: number): ReadonlyMap<number, { readonly offset: number; readonly length: number }> {
    const options = new Map<number, { offset: number; length: number }>();
    let offset = start;
    while (offset < this.length) {
      const code = this.u16(offset);
      const length = this.u16(offset + 2);
      if (code === OptionCode.endOfOptions) break;
      this.need(offset + 4, length);
      options.set(code, { offset: offset + 4, length });
      offset += 4 + length + pad(length);
    }
    return options;
  }
}

/** Splits the file into the bodies of its blocks, following the byte order of each section. */
function* blocksOf(file: Uint8Array): Generator<Block> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  let littleEndian = true;
  for (let offset = 0; offset < file.length;) {
    const left = file.length - offset;
    if (left < blockOverhead) refuse(offset, `the file ends within a block, ${left} bytes after its start`);
    const isSection = view.getUint32(offset, true) === BlockType.sectionHeader;
    if (offset === 0 && !isSection) refuse(0, "this is not a pcapng file: it does not start with a section header");
    if (isSection) {
      const magic = view.getUint32(offset + 8, true);
      if (magic !== byteOrderMagic && magic !== swappedMagic) refuse(offset + 8, "the byte-order magic is wrong");
      littleEndian = magic === byteOrderMagic;
    }
    const length = view.getUint32(offset + 4, littleEndian);
    if (length < blockOverhead || length % 4 !== 0) refuse(offset + 4, `a block cannot be ${length} bytes long`);
    if (length > left) refuse(offset + 4, `the block says ${length} bytes where the file has ${left} left`);
    if (view.getUint32(offset + length - 4, littleEndian) !== length)
      refuse(offset + length - 4, "the length at the end of a block differs from that at its start");
    const body = file.subarray(offset + 8, offset + length - 4);
    yield new Block(view.getUint32(offset, littleEndian), body, offset + 8, littleEndian);
    offset += length;
  }
}

function readInterface(block: Block, index: number): { readonly description: CaptureInterface; readonly clock: Clock } {
  const linkType = block.u16(0);
  const snapLength = block.u32(4);
  const options = block.options(8);
  const nameAt = options.get(OptionCode.interfaceName);
  const resolutionAt = options.get(OptionCode.timestampResolution);
  const offsetAt = options.get(OptionCode.timestampOffset);
  const resolution = resolutionAt === undefined ? defaultResolution : block.u8(resolutionAt.offset);
  // The top bit says whether the other seven are a power of two or of ten.
  const ticksPerSecond = (resolution & 0x80) === 0 ? 10n ** BigInt(resolution) : 2n ** BigInt(resolution & 0x7f);
  const name =
    nameAt === undefined ? {} : { name: new TextDecoder().decode(block.bytes(nameAt.offset, nameAt.length)) };
  return {
    description: { linkType, snapLength, ...name },
    clock: {
      index,
      snapLength,
      ticksPerSecond,
      offsetSeconds: offsetAt === undefined ? 0n : block.i64(offsetAt.offset),
    },
  };
}

/**
 * Reads a pcapng file: sections, interfaces and packets (enhanced and simple); other blocks are passed over. The
 * interfaces of later sections follow those of earlier ones. Throws {@link WireError} for a file that is cut or broken.
 */
export function readPcapng(file: Uint8Array): Capture {
  const interfaces: CaptureInterface[] = [];
  const packets: CapturedPacket[] = [];
  let section: Clock[] = [];
  const clockOf = (block: Block, index: number): Clock =>
    section[index] ?? block.refuse(0, `the section has no interface ${index}`);

  for (const block of blocksOf(file)) {
    if (block.type === BlockType.sectionHeader) {
      section = [];
      const major = block.u16(4);
      if (major !== 1) block.refuse(4, `the major version is ${major}, not 1`);
    } else if (block.type === BlockType.interface) {
      const { description, clock } = readInterface(block, interfaces.length);
      interfaces.push(description);
      section.push(clock);
    } else if (block.type === BlockType.enhancedPacket) {
      const clock = clockOf(block, block.u32(0));
      const ticks = (BigInt(block.u32(4)) << 32n) | BigInt(block.u32(8));
      const bytes = block.bytes(20, block.u32(12));
      const flagsAt = block.options(20 + bytes.length + pad(bytes.length)).get(packetFlagsOption);
      const direction = flagsAt && directions[block.u32(flagsAt.offset) & 3];
      packets.push({
        interface: clock.index,
        timestampNs: (ticks * nsPerSecond) / clock.ticksPerSecond + clock.offsetSeconds * nsPerSecond,
        originalLength: block.u32(16),
        ...(direction && { direction }),
        bytes,
      });
    } else if (block.type === BlockType.simplePacket) {
      const { index, snapLength } = clockOf(block, 0);
      const originalLength = block.u32(0);
      const kept = snapLength === 0 ? originalLength : Math.min(snapLength, originalLength);
      packets.push({ interface: index, originalLength, bytes: block.bytes(4, kept) });
    }
  }
  return { interfaces, packets };
}

function block(type: number, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(blockOverhead + body.length + pad(body.length));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, bytes.length, true);
  bytes.set(body, 8);
  view.setUint32(bytes.length - 4, bytes.length, true);
  return bytes;
}

/** Little-endian words of 2, 4 or 8 bytes. */
function words(...values: readonly (readonly [size: 2 | 4 | 8, value: number | bigint])[]): Uint8Array {
  const bytes = new Uint8Array(values.reduce((sum, [size]) => sum + size, 0));
  const view = new DataView(bytes.buffer);
  let offset = 0;
  for (const [size, value] of values) {
    if (size === 2) view.setUint16(offset, Number(value), true);
    else if (size === 4) view.setUint32(offset, Number(value), true);
    else view.setBigUint64(offset, BigInt.asUintN(64, BigInt(value)), true);
    offset += size;
  }
  return bytes;
}

function option(code: number, value: Uint8Array): Uint8Array {
  return concatBytes([words([2, code], [2, value.length]), value, new Uint8Array(pad(value.length))]);
}

function writeInterface({ linkType, snapLength, name }: CaptureInterface): Uint8Array {
  const named = name === undefined ? [] : [option(OptionCode.interfaceName, new TextEncoder().encode(name))];
  const options = [...named, option(OptionCode.timestampResolution, Uint8Array.of(9)), words([4, 0])];
  return block(BlockType.interface, concatBytes([words([2, linkType], [2, 0], [4, snapLength]), ...options]));
}

function writePacket({ interface: index, timestampNs, originalLength, direction, bytes }: CapturedPacket): Uint8Array {
  if (timestampNs === undefined) return block(BlockType.simplePacket, concatBytes([words([4, originalLength]), bytes]));
  const time = BigInt.asUintN(64, timestampNs);
  const flags = words([4, directions.indexOf(direction)]);
  const options =
    direction === undefined
      ? []
      : [new Uint8Array(pad(bytes.length)), option(packetFlagsOption, flags), words([4, OptionCode.endOfOptions])];
  return block(
    BlockType.enhancedPacket,
    concatBytes([
      words([4, index], [4, time >> 32n], [4, time & 0xffff_ffffn], [4, bytes.length], [4, originalLength]),
      bytes,
      ...options,
    ]),
  );
}

/**
 * Writes one section with the interfaces and packets given. Throws {@link WireError} when a packet names no interface,
 * and when one without a time is not a whole packet of the first interface, or has a direction: a simple packet block cannot
 * say otherwise.
 */
export function writePcapng(capture: Capture): Uint8Array {
  for (const [number, packet] of capture.packets.entries()) {
    const from = capture.interfaces[packet.interface];
    const refuse = (reason: string): never => {
      throw new WireError("emit", "capture", 0, `packet ${number} ${reason}`);
    };
    if (from === undefined) return refuse(`names interface ${packet.interface} of ${capture.interfaces.length}`);
    const { snapLength } = from;
    const kept = snapLength === 0 ? packet.originalLength : Math.min(snapLength, packet.originalLength);
    const simple = packet.interface === 0 && packet.bytes.length === kept && packet.direction === undefined;
    if (packet.timestampNs === undefined && !simple)
      refuse("has no time but is not a whole packet of interface 0 without a direction");
  }
  const section = block(BlockType.sectionHeader, words([4, byteOrderMagic], [2, 1], [2, 0], [8, -1]));
  return concatBytes([section, ...capture.interfaces.map(writeInterface), ...capture.packets.map(writePacket)]);
}
