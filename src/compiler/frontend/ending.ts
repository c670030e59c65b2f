/** The end of a chain on a packet: what its actors asked for while they ran is done, and the verdict returned. */
import { helpers } from "../../bpf/helpers.ts";
import type { Builder, Variable } from "../ir/builder.ts";
import { int32, int64, type Value } from "../ir/ir.ts";
import { hooks, type PacketHook } from "./hooks.ts";
import type { Lowering } from "./lowering.ts";
import { isV4 } from "./views/ip.ts";
import type { ParsedPacket } from "./views/packet.ts";

/** Where a packet goes, besides the verdict: interface indices, 0 for nowhere. */
export class Forwarding {
  /** The packet leaves by this interface instead of going on. */
  readonly redirect: Variable = { name: "redirect", type: int32 };
  /** A copy leaves by this one. */
  readonly mirror: Variable = { name: "mirror", type: int32 };
  readonly #used = new Set<Variable>();

  start(builder: Builder): void {
    builder.write(this.redirect, builder.const(0));
    builder.write(this.mirror, builder.const(0));
  }

  /** Says what other programs of the chain, if not this one, may ask for. */
  expect(which: Iterable<"redirect" | "mirror">): void {
    for (const one of which) this.#used.add(this[one]);
  }

  to(lowering: Lowering, which: "redirect" | "mirror", ifindex: Value): void {
    this.#used.add(this[which]);
    lowering.builder.write(this[which], ifindex);
  }

  /** Copies the packet as it is now. */
  copy(lowering: Lowering, { context }: ParsedPacket): void {
    if (!this.#used.has(this.mirror)) return;
    const { builder } = lowering;
    const ifindex = builder.read(this.mirror);
    const [wanted, exit] = [builder.block(), builder.block()];
    builder.branch("ne", ifindex, builder.const(0), wanted, exit);
    lowering.enter(wanted);
    const args = [context, builder.zeroExtend(ifindex), builder.const(0, 64)];
    builder.call(helpers.cloneRedirect.number, args, int64, "packet");
    builder.jump(exit);
    lowering.enter(exit);
  }

  /** Returns what sends the packet elsewhere, unless it is dropped; goes on where it is to pass. */
  leave(lowering: Lowering, hook: PacketHook, verdict: Value): void {
    if (!this.#used.has(this.redirect)) return;
    const { builder } = lowering;
    const ifindex = builder.read(this.redirect);
    const [wanted, allowed, exit] = builder.blocks(3);
    builder.branch("ne", ifindex, builder.const(0), wanted, exit);
    lowering.enter(wanted);
    builder.branch("eq", verdict, builder.const(hooks[hook].proceed), allowed, exit);
    lowering.enter(allowed);
    const args = [builder.zeroExtend(ifindex), builder.const(0, 64)];
    builder.return(builder.truncate(builder.call(helpers.redirect.number, args, int64, "memory")));
    lowering.enter(exit);
  }
}

/** What actors leave for the end of the chain. */
export function decided(packet: ParsedPacket): readonly Variable[] {
  const { verdict, checksum, injection, forwarding } = packet;
  return [verdict, checksum.difference, injection.request, forwarding.redirect, forwarding.mirror];
}

/** Ends the program: nothing can follow. */
export function endPacket(lowering: Lowering, packet: ParsedPacket): void {
  const { builder } = lowering;
  // While the packet's pointers are valid.
  const v4 = isV4(lowering, packet);
  packet.checksum.finish(lowering, packet);
  packet.injection.finish(lowering, packet, v4);
  packet.forwarding.copy(lowering, packet);
  const verdict = builder.read(packet.verdict);
  packet.forwarding.leave(lowering, packet.hook, verdict);
  builder.return(verdict);
}
