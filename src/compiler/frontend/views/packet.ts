/** `packet`, `packet.ip` and `packet.tcp`. */
import type ts from "#typescript";
import type { Variable } from "../../ir/builder.ts";
import type { Value } from "../../ir/ir.ts";
import type { Checksum } from "../checksum.ts";
import type { Forwarding } from "../ending.ts";
import { hooks, type PacketHook } from "../hooks.ts";
import type { Injection, InjectionKind } from "../injection.ts";
import type { Lowering } from "../lowering.ts";
import type { Removals } from "../removals.ts";
import { skbField } from "../skb.ts";
import { describeValue, type LanguageValue, type View } from "../values.ts";
import { EthernetView } from "./ethernet.ts";
import { FlowView } from "./flow.ts";
import { addressOf, IpView } from "./ip.ts";
import { OptionsView } from "./options.ts";

/** Where the prologue left the parts of the packet. All are variables, because parsing may start over. */
export interface ParsedPacket {
  readonly hook: PacketHook;
  readonly context: Value;
  /** Packet pointers: the IP header, the TCP header, the packet's end. */
  readonly ip: Variable;
  readonly tcp: Variable;
  readonly end: Variable;
  /** Bytes from the IP header to the TCP header; from the frame's start to the IP header. */
  readonly ipLength: Variable;
  readonly ipOffset: Variable;
  /** Bytes of the IP packet, by its header; by the frame's length where that says none (packets above 64 KB). */
  readonly totalLength: Variable;
  /** Bytes of the TCP header. */
  readonly tcpLength: Variable;
  readonly checksum: Checksum;
  readonly removals: Removals;
  readonly injection: Injection;
  readonly forwarding: Forwarding;
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

/** Flags that say what the other fields mean: a policy that could write them would break connections. */
const handshakeFlags: ReadonlySet<string> = new Set(["syn", "ack"]);

export class PacketView implements View {
  readonly name = "packet";
  readonly #packet: ParsedPacket;
  constructor(packet: ParsedPacket) {
    this.#packet = packet;
  }

  get(lowering: Lowering, property: string, node: ts.Node): LanguageValue | undefined {
    const packet = this.#packet;
    switch (property) {
      case "mark":
        this.#skb(lowering, "packet.mark", node);
        return lowering.integer("u32", lowering.builder.load(4, packet.context, skbField.mark));
      case "ethernet":
        return { kind: "view", view: new EthernetView(packet) };
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

  set(lowering: Lowering, property: string, value: LanguageValue, node: ts.Node): boolean {
    if (property !== "mark") return false;
    if (!lowering.effects) return lowering.fail("selectorEffect", node);
    const { context } = this.#skb(lowering, "packet.mark", node);
    lowering.builder.store(4, context, skbField.mark, lowering.coerce(value, "u32", node));
    lowering.effects.acted();
    return true;
  }

  call(
    lowering: Lowering,
    method: string,
    args: readonly LanguageValue[],
    node: ts.CallExpression,
  ): LanguageValue | undefined {
    if (!packetMethods.has(method)) return undefined;
    if (!lowering.effects) return lowering.fail("selectorEffect", node);
    const { builder } = lowering;
    const packet = this.#packet;
    switch (method) {
      case "drop":
        builder.write(packet.verdict, builder.const(hooks[packet.hook].drop!));
        break;
      case "mirror":
        this.#skb(lowering, "packet.mirror()", node);
        packet.forwarding.to(lowering, method, lowering.coerce(args[0], "u32", node));
        break;
      case "redirect":
        packet.forwarding.to(lowering, method, lowering.coerce(args[0], "u32", node));
        break;
      default:
        return this.#inject(lowering, method as InjectionKind, args, node);
    }
    lowering.effects.acted();
    return { kind: "undefined" };
  }

  #inject(
    lowering: Lowering,
    kind: InjectionKind,
    [option, window]: readonly LanguageValue[],
    node: ts.CallExpression,
  ): LanguageValue {
    const packet = this.#packet;
    if (option?.kind !== "bytes") return lowering.fail("notOption", node, describeValue(option));
    const shown = kind === "answer" ? lowering.coerce(window, "u16", node) : undefined;
    return packet.injection.ask(lowering, packet, kind, option.bytes, shown, node);
  }

  /** The packet, for what only tc can do. */
  #skb(lowering: Lowering, what: string, node: ts.Node): ParsedPacket {
    return this.#packet.hook === "xdp" ? lowering.fail("wrongHook", node, what, hooks.xdp.title) : this.#packet;
  }
}

const packetMethods: ReadonlySet<string> = new Set(["drop", "redirect", "mirror", "insert", "duplicate", "answer"]);

export function frameLength({ builder }: Lowering, packet: ParsedPacket): Value {
  // __sk_buff.len is at 0; XDP has only the two pointers, whose difference the 32-bit context fields give.
  if (packet.hook !== "xdp") return builder.load(4, packet.context, 0);
  return builder.binary("sub", builder.load(4, packet.context, 4), builder.load(4, packet.context, 0));
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
    if (tcpFlags[property] && !handshakeFlags.has(property)) return this.#setFlag(lowering, property, value, node);
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

  #setFlag(lowering: Lowering, property: string, value: LanguageValue, node: ts.Node): boolean {
    if (!lowering.effects) return lowering.fail("selectorEffect", node);
    const { builder } = lowering;
    const tcp = builder.read(this.#packet.tcp);
    // Flags are the second byte of the word at 12: the upper one as loaded.
    const bit = builder.const(tcpFlags[property] << 8);
    const before = builder.load(2, tcp, 12);
    const cleared = builder.binary("and", before, builder.const(0xffff ^ (tcpFlags[property] << 8)));
    const after = builder.binary("or", cleared, builder.binary("mul", lowering.asBoolean(value, node), bit));
    builder.store(2, tcp, 12, after);
    this.#packet.checksum.replaceWord(lowering, before, after);
    lowering.effects.acted();
    return true;
  }
}

export function payloadLength({ builder }: Lowering, packet: ParsedPacket): Value {
  const headers = builder.binary("add", builder.read(packet.ipLength), builder.read(packet.tcpLength));
  return builder.binary("sub", builder.read(packet.totalLength), headers);
}
