/** `packet.ip`: what IPv4 and IPv6 have in common. */
import type ts from "#typescript";
import type { Value } from "../../ir/ir.ts";
import type { Lowering } from "../lowering.ts";
import type { AddressValue, LanguageValue, View } from "../values.ts";
import type { ParsedPacket } from "./packet.ts";

const ecnMask = 0x03;

/**
 * 1 for IPv4, 0 for IPv6; 32 bits. Read from the header each time: known from an earlier comparison it would make the
 * verifier follow all that comes behind once for each.
 */
export function isV4({ builder }: Lowering, packet: ParsedPacket): Value {
  const version = builder.binary("lshr", builder.loadFresh(1, builder.read(packet.ip), 0), builder.const(5));
  return builder.binary("sub", builder.const(3), version);
}

export function addressOf(lowering: Lowering, packet: ParsedPacket, which: "source" | "destination"): AddressValue {
  const { builder } = lowering;
  const [v4, v6] = which === "source" ? [12, 8] : [16, 24];
  return {
    kind: "loaded",
    isV4: () => isV4(lowering, packet),
    v4: () => builder.load(4, builder.read(packet.ip), v4),
    half: (half) => builder.load(8, builder.read(packet.ip), v6 + 8 * half),
  };
}

export class IpView implements View {
  readonly name = "packet.ip";
  readonly #packet: ParsedPacket;
  constructor(packet: ParsedPacket) {
    this.#packet = packet;
  }

  get(lowering: Lowering, property: string): LanguageValue | undefined {
    const { builder } = lowering;
    const v4 = isV4(lowering, this.#packet);
    switch (property) {
      case "source":
      case "destination":
        return { kind: "address", address: addressOf(lowering, this.#packet, property) };
      case "version":
        // 4 or 6.
        return lowering.integer(
          "u8",
          builder.binary("sub", builder.const(6), builder.binary("shl", v4, builder.const(1))),
        );
      case "ttl": {
        // At byte 8 of IPv4, 7 of IPv6.
        const offset = builder.zeroExtend(builder.binary("add", builder.const(7), v4));
        return lowering.integer("u8", builder.load(1, builder.pointerAdd(builder.read(this.#packet.ip), offset), 0));
      }
      case "ecn":
        return lowering.integer("u8", builder.binary("and", this.#trafficClass(lowering), builder.const(ecnMask)));
      case "dscp":
        return lowering.integer("u8", builder.binary("lshr", this.#trafficClass(lowering), builder.const(2)));
      default:
        return undefined;
    }
  }

  set(lowering: Lowering, property: string, value: LanguageValue, node: ts.Node): boolean {
    if (property !== "ecn" && property !== "dscp") return false;
    if (!lowering.effects) return lowering.fail("selectorEffect", node);
    const { builder } = lowering;
    const given = lowering.coerce(value, "u8", node);
    const mask = (value: Value, bits: number): Value => builder.binary("and", value, builder.const(bits));
    const before = this.#trafficClass(lowering);
    const after =
      property === "ecn"
        ? builder.binary("or", mask(before, 0xff ^ ecnMask), mask(given, ecnMask))
        : builder.binary("or", mask(before, ecnMask), mask(builder.binary("shl", given, builder.const(2)), 0xff));
    this.#setTrafficClass(lowering, after);
    lowering.effects.acted();
    return true;
  }

  /** DSCP and ECN, 8 bits: byte 1 of IPv4, bits 4 to 11 of IPv6. */
  #trafficClass(lowering: Lowering): Value {
    const { builder } = lowering;
    const word = builder.swap(16, builder.load(2, builder.read(this.#packet.ip), 0));
    // IPv6 has 4 bits of flow label behind it, IPv4 nothing.
    const shift = builder.binary(
      "sub",
      builder.const(4),
      builder.binary("shl", isV4(lowering, this.#packet), builder.const(2)),
    );
    return builder.binary("and", builder.binary("lshr", word, shift), builder.const(0xff));
  }

  #setTrafficClass(lowering: Lowering, value: Value): void {
    const { builder } = lowering;
    const ip = builder.read(this.#packet.ip);
    const before = builder.load(2, ip, 0);
    const [v4, v6, exit] = builder.blocks(3);
    builder.branch("ne", isV4(lowering, this.#packet), builder.const(0), v4, v6);
    lowering.enter(v4);
    const low = builder.binary("and", before, builder.const(0x00ff));
    const after = builder.binary("or", low, builder.binary("shl", value, builder.const(8)));
    builder.store(2, ip, 0, after);
    // The header's checksum is never left to the hardware: RFC 1624 in place.
    const flip = (word: Value): Value => builder.binary("xor", word, builder.const(0xffff));
    let sum = builder.binary("add", flip(builder.load(2, ip, 10)), builder.binary("add", flip(before), after));
    for (let i = 0; i < 2; i++)
      sum = builder.binary(
        "add",
        builder.binary("and", sum, builder.const(0xffff)),
        builder.binary("lshr", sum, builder.const(16)),
      );
    builder.store(2, ip, 10, flip(sum));
    builder.jump(exit);
    lowering.enter(v6);
    const rest = builder.binary("and", builder.swap(16, before), builder.const(0xf00f));
    const word = builder.binary("or", rest, builder.binary("shl", value, builder.const(4)));
    builder.store(2, ip, 0, builder.swap(16, word));
    builder.jump(exit);
    lowering.enter(exit);
  }
}
