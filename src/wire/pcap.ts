/** Classic pcap files, as tcpdump writes them: read only. */
import { copyBytes } from "./bytes.ts";
import { WireError } from "./errors.ts";
import type { Capture, CapturedPacket } from "./pcapng.ts";

/** The first four bytes, read big-endian, tell byte order and unit of the fraction of a second. */
const variants: ReadonlyMap<number, { readonly littleEndian: boolean; readonly nsPerTick: bigint }> = new Map([
  [0xa1b2c3d4, { littleEndian: false, nsPerTick: 1000n }],
  [0xd4c3b2a1, { littleEndian: true, nsPerTick: 1000n }],
  [0xa1b23c4d, { littleEndian: false, nsPerTick: 1n }],
  [0x4d3cb2a1, { littleEndian: true, nsPerTick: 1n }],
]);
const fileHeaderLength = 24;
const recordHeaderLength = 16;
const nsPerSecond = 1_000_000_000n;

/** Reads a classic pcap file, in either byte order. Throws {@link WireError} for a file that is cut or broken. */
export function readPcap(file: Uint8Array): Capture {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const variant = file.length < fileHeaderLength ? undefined : variants.get(view.getUint32(0));
  if (variant === undefined) throw new WireError("parse", "capture", 0, "this is not a pcap file");
  const u32 = (offset: number): number => view.getUint32(offset, variant.littleEndian);
  const packets: CapturedPacket[] = [];
  for (let offset = fileHeaderLength; offset < file.length;) {
    const data = offset + recordHeaderLength;
    if (data > file.length) throw new WireError("parse", "capture", offset, "the file ends within a record's header");
    const length = u32(offset + 8);
    if (data + length > file.length)
      throw new WireError(
        "parse",
        "capture",
        offset + 8,
        `the record says ${length} bytes, ${file.length - data} follow`,
      );
    packets.push({
      interface: 0,
      timestampNs: BigInt(u32(offset)) * nsPerSecond + BigInt(u32(offset + 4)) * variant.nsPerTick,
      originalLength: u32(offset + 12),
      bytes: copyBytes(file, data, data + length),
    });
    offset = data + length;
  }
  // Above the lower half stand bits about frame check sequences.
  return { interfaces: [{ linkType: u32(20) & 0xffff, snapLength: u32(16) }], packets };
}
