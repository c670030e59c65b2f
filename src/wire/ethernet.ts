/** Ethernet II with 802.1Q and 802.1ad tags. */
import { concatBytes } from "./bytes.ts";
import { WireError } from "./errors.ts";
import { layout } from "./layout.ts";

/** Values of `Ethernet.etherType` and `VlanTag.tpid` that matter here. */
export const EtherType = { ipv4: 0x0800, arp: 0x0806, vlan: 0x8100, ipv6: 0x86dd, serviceVlan: 0x88a8 } as const;

export interface VlanTag {
  /** `EtherType.vlan` (802.1Q) or `EtherType.serviceVlan` (802.1ad). */
  readonly tpid: number;
  readonly priority: number;
  readonly dropEligible: boolean;
  readonly vlan: number;
}

export interface Ethernet {
  /** Six bytes. */
  readonly destination: Uint8Array;
  /** Six bytes. */
  readonly source: Uint8Array;
  /** Outermost first. */
  readonly tags: readonly VlanTag[];
  readonly etherType: number;
}

const addresses = layout("Ethernet", { destination: { bytes: 6 }, source: { bytes: 6 } });
const type = layout("Ethernet", { etherType: 16 });
const tag = layout("Ethernet", { tpid: 16, priority: 3, dropEligible: "flag", vlan: 12 });

const isTpid = (value: number): boolean => value === EtherType.vlan || value === EtherType.serviceVlan;

/** Parses the header at the start of a frame. Throws {@link WireError} when the frame ends within it. */
export function parseEthernet(bytes: Uint8Array): { readonly ethernet: Ethernet; readonly headerLength: number } {
  const need = (length: number): void => {
    if (bytes.length < length)
      throw new WireError("parse", "Ethernet", bytes.length, `the frame ends after ${bytes.length} of ${length} bytes`);
  };
  let offset = addresses.size;
  need(offset + type.size);
  const tags: VlanTag[] = [];
  while (isTpid(type.read(bytes, offset).etherType)) {
    need(offset + tag.size + type.size);
    tags.push(tag.read(bytes, offset));
    offset += tag.size;
  }
  return {
    ethernet: { ...addresses.read(bytes, 0), tags, ...type.read(bytes, offset) },
    headerLength: offset + type.size,
  };
}

/** Emits the header. Throws {@link WireError} when a value does not fit its field. */
export function emitEthernet(ethernet: Ethernet): Uint8Array {
  return concatBytes([addresses.write(ethernet), ...ethernet.tags.map((one) => tag.write(one)), type.write(ethernet)]);
}
