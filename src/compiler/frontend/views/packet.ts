/** `packet`, `packet.ip` and `packet.tcp`. */
import type ts from "typescript6";
import type { Variable } from "../../ir/builder.ts";
import type { Value } from "../../ir/ir.ts";
import type { Checksum } from "../checksum.ts";
import { hooks, type PacketHook } from "../hooks.ts";
import type { Lowering } from "../lowering.ts";
import type { Removals } from "../removals.ts";
import type { AddressValue, LanguageValue, View } from "../values.ts";
import { FlowView } from "./flow.ts";
import { OptionsView } from "./options.ts";

/** Where the prologue left the parts of the packet. All are variables, because parsing may start over. */
export interface ParsedPacket {
  readonly hook: PacketHook;
  readonly context: Value;
  /** Packet pointers: the IP header, the TCP header, the packet's end. */
  readonly ip: Variable;
  readonly tcp: Variable;
  readonly end: Variable;
  /** 1 for IPv4, 0 for IPv6. */
  readonly isV4: Variable;
  /** Bytes from the IP header to the TCP header; from the frame's start to the IP header. */
  readonly ipLength: Variable;
  readonly ipOffset: Variable;
  /** Bytes by the IP header; 0 when it says none (packets above 64 KB). */
  readonly totalLength: Variable;
  /** Bytes of the TCP header. */
  readonly tcpLength: Variable;
  readonly checksum: Checksum;
  readonly removals: Removals;
  /** What the program returns. */
  readonly verdict: Variable;
}

/** A property that is a plain header field: big-endian, at a fixed offset. */
interface HeaderField {
  readonly offset: number;
  readonly size: 1 | 2 | 4;
  readonly type: "u8" | "u16" | "u32";
  readonly writable?: true;
}

const tcpFields: Readonly<Record<string, HeaderField>> = {
  sourcePort: { offset: 0, size: 2, type: "u16" },
  destinationPort: { offset: 2, size: 2, type: "u16" },
  sequence: { offset: 4, size: 4, type: "u32" },
  acknowledgment: { offset: 8, size: 4, type: "u32" },
  window: { offset: 14, size: 2, type: "u16", writable: true },
};

/** Bits of byte 13 of the TCP header. */
const tcpFlags: Readonly<Record<string, number>> = {
  fin: 0x01,
  syn: 0x02,
  rst: 0x04,
  psh: 0x08,
  ack: 0x10,
  urg: 0x20,
  ece: 0x40,
  cwr: 0x80,
};

export class PacketView implements View {
  readonly name = "packet";
  readonly #packet: ParsedPacket;
  constructor(packet: ParsedPacket) {
    this.#packet = packet;
  }

  get(lowering: Lowering, property: string): LanguageValue | undefined {
    const packet = this.#packet;
    switch (property) {
      case "ingress":
      case "egress":
        return { kind: "static", value: hooks[packet.hook].direction === property };
      case "length":
        return lowering.integer("u32", frameLength(lowering, packet));
      case "ip":
        return { kind: "view", view: new IpView(packet) };
      case "tcp":
        return { kind: "view", view: new TcpView(packet) };
      case "flow":
        return { kind: "view", view: flowOf(lowering, packet) };
      default:
        return undefined;
    }
  }

  call(lowering: Lowering, method: string, _args: readonly LanguageValue[], node: ts.Node): LanguageValue | undefined {
    if (method !== "drop") return undefined;
    if (!lowering.effects) return lowering.fail("selectorEffect", node);
    const { builder } = lowering;
    builder.write(this.#packet.verdict, builder.const(hooks[this.#packet.hook].drop!));
    lowering.effects.acted();
    return { kind: "undefined" };
  }
}

function frameLength({ builder }: Lowering, packet: ParsedPacket): Value {
  // __sk_buff.len is at 0; XDP has only the two pointers, whose difference the 32-bit context fields give.
  if (packet.hook !== "xdp") return builder.load(4, packet.context, 0);
  return builder.binary("sub", builder.load(4, packet.context, 4), builder.load(4, packet.context, 0));
}

function addressOf(lowering: Lowering, packet: ParsedPacket, which: "source" | "destination"): AddressValue {
  const { builder } = lowering;
  const [v4, v6] = which === "source" ? [12, 8] : [16, 24];
  return {
    kind: "loaded",
    isV4: () => builder.read(packet.isV4),
    v4: () => builder.load(4, builder.read(packet.ip), v4),
    half: (half) => builder.load(8, builder.read(packet.ip), v6 + 8 * half),
  };
}

function flowOf(lowering: Lowering, packet: ParsedPacket): FlowView {
  const [localSide, remoteSide] =
    hooks[packet.hook].direction === "egress"
      ? (["source", "destination"] as const)
      : (["destination", "source"] as const);
  const port = (side: "source" | "destination"): Value => loadField(lowering, packet, tcpFields[`${side}Port`]);
  return new FlowView({
    local: () => addressOf(lowering, packet, localSide),
    remote: () => addressOf(lowering, packet, remoteSide),
    localPort: () => port(localSide),
    remotePort: () => port(remoteSide),
  });
}

function loadField({ builder }: Lowering, packet: ParsedPacket, field: HeaderField): Value {
  const raw = builder.load(field.size, builder.read(packet.tcp), field.offset);
  return field.size === 1 ? raw : builder.swap(field.size === 2 ? 16 : 32, raw);
}

class IpView implements View {
  readonly name = "packet.ip";
  readonly #packet: ParsedPacket;
  constructor(packet: ParsedPacket) {
    this.#packet = packet;
  }

  get(lowering: Lowering, property: string): LanguageValue | undefined {
    const { builder } = lowering;
    const isV4 = builder.read(this.#packet.isV4);
    switch (property) {
      case "source":
      case "destination":
        return { kind: "address", address: addressOf(lowering, this.#packet, property) };
      case "version":
        // 4 or 6.
        return lowering.integer(
          "u8",
          builder.binary("sub", builder.const(6), builder.binary("shl", isV4, builder.const(1))),
        );
      case "ttl": {
        // At byte 8 of IPv4, 7 of IPv6.
        const offset = builder.zeroExtend(builder.binary("add", builder.const(7), isV4));
        return lowering.integer("u8", builder.load(1, builder.pointerAdd(builder.read(this.#packet.ip), offset), 0));
      }
      default:
        return undefined;
    }
  }
}

class TcpView implements View {
  readonly name = "packet.tcp";
  readonly #packet: ParsedPacket;
  constructor(packet: ParsedPacket) {
    this.#packet = packet;
  }

  get(lowering: Lowering, property: string): LanguageValue | undefined {
    const { builder } = lowering;
    const packet = this.#packet;
    const field = tcpFields[property];
    if (field) return lowering.integer(field.type, loadField(lowering, packet, field));
    const flag = tcpFlags[property];
    if (flag) return lowering.boolean("test", builder.load(1, builder.read(packet.tcp), 13), builder.const(flag));
    switch (property) {
      case "headerLength":
        return lowering.integer("u32", builder.read(packet.tcpLength));
      case "payloadLength":
        return lowering.integer("u32", payloadLength(lowering, packet));
      case "options":
        return { kind: "view", view: new OptionsView(packet) };
      default:
        return undefined;
    }
  }

  set(lowering: Lowering, property: string, value: LanguageValue, node: ts.Node): boolean {
    const { builder } = lowering;
    const field = tcpFields[property];
    if (!field?.writable) return false;
    if (!lowering.effects) return lowering.fail("selectorEffect", node);
    const base = builder.read(this.#packet.tcp);
    const after = builder.swap(16, lowering.coerce(value, field.type, node));
    const before = builder.load(2, base, field.offset);
    builder.store(2, base, field.offset, after);
    this.#packet.checksum.replaceWord(lowering, before, after);
    lowering.effects.acted();
    return true;
  }
}

function payloadLength(lowering: Lowering, packet: ParsedPacket): Value {
  const { builder } = lowering;
  const headers = builder.binary("add", builder.read(packet.ipLength), builder.read(packet.tcpLength));
  const total = lowering.variable("total", "u32");
  const [unsaid, exit] = [builder.block(), builder.block()];
  const said = builder.read(packet.totalLength);
  builder.write(total, said);
  builder.branch("eq", said, builder.const(0), unsaid, exit);
  lowering.enter(unsaid);
  builder.write(total, builder.binary("sub", frameLength(lowering, packet), builder.read(packet.ipOffset)));
  builder.jump(exit);
  lowering.enter(exit);
  return builder.binary("sub", builder.read(total), headers);
}
