/** Events of a chain, decoded; what their records look like is in `compiler/event-layout.ts`. */
import { eventHeader, selectorBit, type ChainLayout } from "../compiler/layout.ts";
import { integerSizes } from "../policy/types.ts";
// Not through the index: reading events needs no access to the kernel.
import { addressText } from "../linux/sockaddr.ts";

export interface ChainEvent {
  readonly name: string;
  /** Who emitted it: selectors and actors are numbered from 0, in the order of the chain. */
  readonly policy: { readonly kind: "selector" | "actor"; readonly index: number };
  /** Nanoseconds since the system started, without suspend. */
  readonly timeNs: bigint;
  readonly local: string;
  readonly remote: string;
  readonly localPort: number;
  readonly remotePort: number;
  /** Fields of 64 bits are bigints. */
  readonly fields: Readonly<Record<string, number | bigint>>;
}

/**
 * One record of the events map.
 * @throws RangeError when it is none of a chain with this layout
 */
export function decodeEvent(bytes: Uint8Array, layout: Pick<ChainLayout, "events">): ChainEvent {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < eventHeader.length)
    throw new RangeError(`Cannot decode an event of ${bytes.length} bytes: its header alone has ${eventHeader.length}`);
  const slot = layout.events[view.getUint16(eventHeader.event, true)];
  if (!slot || view.getUint32(eventHeader.size, true) !== slot.size || bytes.length < slot.size)
    throw new RangeError(
      `Cannot decode an event of ${bytes.length} bytes, number ${view.getUint16(eventHeader.event, true)}: ` +
        "it is none of those this chain emits",
    );
  const policy = view.getUint16(eventHeader.policy, true);
  const { flow } = eventHeader;
  return {
    name: slot.name,
    policy: { kind: policy & selectorBit ? "selector" : "actor", index: policy & ~selectorBit },
    timeNs: view.getBigUint64(eventHeader.timeNs, true),
    local: addressText(bytes.subarray(flow, flow + 16)),
    remote: addressText(bytes.subarray(flow + 16, flow + 32)),
    localPort: view.getUint16(flow + 32, true),
    remotePort: view.getUint16(flow + 34, true),
    fields: Object.fromEntries(
      slot.fields.map(({ name, type, offset }) => {
        const size = integerSizes[type];
        if (size === 8)
          return [name, type === "i64" ? view.getBigInt64(offset, true) : view.getBigUint64(offset, true)];
        if (type === "i32") return [name, view.getInt32(offset, true)];
        return [
          name,
          size === 1 ? view.getUint8(offset) : size === 2 ? view.getUint16(offset, true) : view.getUint32(offset, true),
        ];
      }),
    ),
  };
}
