/** The packet of a run, in a buffer with room before and after it. */
import type { PacketPointers } from "./context.ts";
import { REGION_BASE, region, type Address, type AddressSpace, type Region } from "./memory.ts";

/** Room around a packet as BPF_PROG_TEST_RUN lays it out for XDP (net/bpf/test_run.c, include/net/xdp.h; x86-64). */
const XDP_HEADROOM = 256;
const XDP_FRAME_SIZE = 4096;
/** Bytes at the start of the headroom that hold `struct xdp_frame`. */
const XDP_FRAME_HEADER = 40;
/** `struct skb_shared_info`, at the end. */
const SHARED_INFO_SIZE = 320;
/** Longest XDP metadata. */
const MAX_META_LENGTH = 252;
const ETHERNET_HEADER = 14;

/** Bytes a frame must have, and may have for XDP. */
export const FrameLength = { min: ETHERNET_HEADER, maxXdp: XDP_FRAME_SIZE - XDP_HEADROOM - SHARED_INFO_SIZE } as const;

export class Packet implements PacketPointers {
  private readonly space: AddressSpace;
  private bytes: Uint8Array;
  private meta: number;
  private start: number;
  private finish: number;
  /** End of what programs reach directly; the rest of an skb is in fragments until it is pulled. */
  private linearEnd: number;
  private current!: Region;
  private high = 0;

  constructor(space: AddressSpace, frame: Uint8Array, linearBytes = frame.length) {
    this.space = space;
    this.bytes = new Uint8Array(Math.max(XDP_FRAME_SIZE - SHARED_INFO_SIZE, XDP_HEADROOM + frame.length));
    this.bytes.set(frame, XDP_HEADROOM);
    this.meta = XDP_HEADROOM;
    this.start = XDP_HEADROOM;
    this.finish = XDP_HEADROOM + frame.length;
    this.linearEnd = XDP_HEADROOM + Math.min(linearBytes, frame.length);
    this.place();
  }

  get length(): number {
    return this.finish - this.start;
  }

  /** A copy of the packet. */
  contents(): Uint8Array {
    return this.bytes.slice(this.start, this.finish);
  }

  /** A copy of the metadata in front of the packet. */
  metadata(): Uint8Array {
    return this.bytes.slice(this.meta, this.start);
  }

  /** Bytes of the packet, themselves, or undefined outside it. */
  slice(offset: number, length: number): Uint8Array | undefined {
    if (offset < 0 || offset + length > this.length) return undefined;
    return this.bytes.subarray(this.start + offset, this.start + offset + length);
  }

  pointer(which: "data" | "dataEnd" | "dataMeta"): Address {
    const at = which === "data" ? this.start : which === "dataEnd" ? this.linearEnd : this.meta;
    return { low: REGION_BASE + at, high: this.high };
  }

  /** Makes all pointers into the packet stale. */
  invalidate(call: string): void {
    this.current.stale = call;
    this.place();
  }

  /** Makes the first `length` bytes directly reachable; false when there are fewer. */
  pull(length: number): boolean {
    if (length > this.length) return false;
    this.linearEnd = Math.max(this.linearEnd, this.start + length);
    return true;
  }

  get linearLength(): number {
    return this.linearEnd - this.start;
  }

  /** Moves the start of the packet (net/core/filter.c, bpf_xdp_adjust_head); false when there is no room. */
  adjustHead(by: number): boolean {
    const metaLength = this.start - this.meta;
    const start = this.start + by;
    if (start < XDP_FRAME_HEADER + metaLength || start > this.finish - ETHERNET_HEADER) return false;
    this.bytes.copyWithin(this.meta + by, this.meta, this.start);
    this.meta += by;
    this.start = start;
    return true;
  }

  /** Moves the end of the packet (bpf_xdp_adjust_tail); false when there is no room. */
  adjustTail(by: number): boolean {
    const finish = this.finish + by;
    if (finish > XDP_FRAME_SIZE - SHARED_INFO_SIZE || finish < this.start + ETHERNET_HEADER) return false;
    if (by > 0) this.bytes.fill(0, this.finish, finish);
    this.finish = finish;
    this.linearEnd = finish;
    return true;
  }

  /** Cuts an skb or lengthens it with zeros (bpf_skb_change_tail); all of it is directly reachable then. */
  resize(length: number): void {
    const finish = this.start + length;
    if (finish > this.bytes.length) {
      const larger = new Uint8Array(finish);
      larger.set(this.bytes);
      this.bytes = larger;
    }
    if (finish > this.finish) this.bytes.fill(0, this.finish, finish);
    this.finish = finish;
    this.linearEnd = finish;
  }

  /** Moves the start of the metadata (bpf_xdp_adjust_meta). */
  adjustMeta(by: number): "done" | "noRoom" | "badLength" {
    const meta = this.meta + by;
    if (meta < XDP_FRAME_HEADER || meta > this.start) return "noRoom";
    const length = this.start - meta;
    if (length % 4 !== 0 || length > MAX_META_LENGTH) return "badLength";
    this.meta = meta;
    return "done";
  }

  private place(): void {
    this.current = region("packet", this.bytes, { start: this.meta, end: this.linearEnd });
    this.high = this.space.add(this.current);
  }
}
