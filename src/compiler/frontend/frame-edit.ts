/**
 * Changing a frame by offsets rather than pointers, as the end of a chain does: by the helpers of tc, which know of
 * checksums that are still to be filled in, or by those of XDP, where every checksum is whole.
 */
import { helpers, type HelperName } from "../../bpf/helpers.ts";
import { injectionBuffer } from "../injection-buffer.ts";
import { int32, int64, type Block, type Value } from "../ir/ir.ts";
import type { PacketHook } from "./hooks.ts";
import type { Lowering } from "./lowering.ts";
import { folded } from "./skb.ts";

export interface FrameEdit {
  /** Copies bytes of the frame to memory; goes to `failed` where they are not there. Offsets and lengths are 32 bits wide. */
  load(at: Value, to: Value, length: Value, failed: Block): void;
  store(at: Value, from: Value, length: Value): void;
  /** Cuts the frame to `length` bytes or lengthens it; goes to `failed` where there is no room. */
  resize(length: Value, failed: Block): void;
  /** 1 where the TCP checksum at an offset is still to be filled in, 0 where it is whole; 32 bits. `place` is for 2 bytes. */
  isPartial(checksumAt: Value, place: Value): Value;
  /** Adds what `csum_diff` found to the TCP checksum at an offset. */
  addDifference(checksumAt: Value, difference: Value): void;
  /** A word of the IP header, or of TCP's pseudo-header, changed; both as loaded from the wire. */
  replaceWord(where: "ip" | "pseudoHeader", checksumAt: Value, before: Value, after: Value): void;
}

/** @param memory the injection buffer */
export function frameEdit(lowering: Lowering, hook: PacketHook, context: Value, memory: Value): FrameEdit {
  return hook === "xdp" ? new XdpEdit(lowering, context, memory) : new SkbEdit(lowering, context);
}

class Helpers {
  protected readonly lowering: Lowering;
  protected readonly context: Value;

  constructor(lowering: Lowering, context: Value) {
    this.lowering = lowering;
    this.context = context;
  }

  protected call(helper: HelperName, ...args: readonly Value[]): Value {
    const { builder } = this.lowering;
    const wide = args.map((arg) => (arg.type === int32 ? builder.zeroExtend(arg) : arg));
    const effects = helpers[helper].invalidatesPackets ? "packet" : "memory";
    return builder.call(helpers[helper].number, [this.context, ...wide], int64, effects);
  }

  protected must(failed: Block, helper: HelperName, ...args: readonly Value[]): void {
    const { builder } = this.lowering;
    const fine = builder.block();
    builder.branch("eq", this.call(helper, ...args), builder.const(0, 64), fine, failed);
    this.lowering.enter(fine);
  }
}

class SkbEdit extends Helpers implements FrameEdit {
  load(at: Value, to: Value, length: Value, failed: Block): void {
    this.must(failed, "skbLoadBytes", at, to, length);
  }

  store(at: Value, from: Value, length: Value): void {
    // BPF_F_RECOMPUTE_CSUM: where the card summed up the packet (CHECKSUM_COMPLETE), its sum stays right.
    this.call("skbStoreBytes", at, from, length, this.lowering.builder.const(1));
  }

  resize(length: Value, failed: Block): void {
    this.must(failed, "skbChangeTail", length, this.lowering.builder.const(0));
  }

  addDifference(checksumAt: Value, difference: Value): void {
    const none = this.lowering.builder.const(0);
    this.call("l4CsumReplace", checksumAt, none, difference, none);
  }

  /** The kernel does not say, but it leaves such a checksum alone when something besides the pseudo-header changes. */
  isPartial(checksumAt: Value, place: Value): Value {
    const { builder } = this.lowering;
    const size = builder.const(2);
    const none = builder.const(0);
    this.call("skbLoadBytes", checksumAt, place, size);
    const before = builder.loadFresh(2, place, 0);
    this.call("l4CsumReplace", checksumAt, none, builder.const(1), none);
    this.call("skbLoadBytes", checksumAt, place, size);
    return builder.compare("eq", before, builder.loadFresh(2, place, 0));
  }

  replaceWord(where: "ip" | "pseudoHeader", checksumAt: Value, before: Value, after: Value): void {
    const { builder } = this.lowering;
    // The field's size, and BPF_F_PSEUDO_HDR.
    if (where === "ip") this.call("l3CsumReplace", checksumAt, before, after, builder.const(2));
    else this.call("l4CsumReplace", checksumAt, before, after, builder.const(0x10 | 2));
  }
}

class XdpEdit extends Helpers implements FrameEdit {
  readonly #memory: Value;

  constructor(lowering: Lowering, context: Value, memory: Value) {
    super(lowering, context);
    this.#memory = memory;
  }

  load(at: Value, to: Value, length: Value, failed: Block): void {
    this.must(failed, "xdpLoadBytes", at, to, length);
  }

  store(at: Value, from: Value, length: Value): void {
    this.call("xdpStoreBytes", at, from, length);
  }

  resize(length: Value, failed: Block): void {
    const { builder } = this.lowering;
    const now = builder.binary("sub", builder.load(4, this.context, 4), builder.load(4, this.context, 0));
    this.must(failed, "xdpAdjustTail", builder.binary("sub", length, now));
  }

  isPartial(): Value {
    return this.lowering.builder.const(0);
  }

  addDifference(checksumAt: Value, difference: Value): void {
    const { builder } = this.lowering;
    const place = builder.pointerAdd(this.#memory, builder.const(injectionBuffer.length, 64));
    const size = builder.const(2);
    this.call("xdpLoadBytes", checksumAt, place, size);
    const before = builder.zeroExtend(builder.binary("xor", builder.load(2, place, 0), builder.const(0xffff)));
    // RFC 1624.
    const sum = builder.binary("add", before, builder.zeroExtend(builder.truncate(difference)));
    builder.store(2, place, 0, folded(this.lowering, sum));
    this.call("xdpStoreBytes", checksumAt, place, size);
  }

  replaceWord(_where: "ip" | "pseudoHeader", checksumAt: Value, before: Value, after: Value): void {
    const { builder } = this.lowering;
    const less = builder.binary("xor", before, builder.const(0xffff));
    this.addDifference(checksumAt, builder.zeroExtend(builder.binary("add", less, after)));
  }
}
