/** `packet.tcp.options`: a walk that ends at EOL, at a malformed option and at the header's end, and the option in hand. */
import type ts from "#typescript";
import { int32, int64, type Block, type Value } from "../../ir/ir.ts";
import type { Variable } from "../../ir/builder.ts";
import type { IntegerName } from "../../../policy/types.ts";
import { helpers } from "../../../bpf/helpers.ts";
import { kind } from "../../../policy/packet.ts";
import { alias, blur } from "../conceal.ts";
import type { Lowering } from "../lowering.ts";
import { fillWithNops } from "../saved-option.ts";
import type { LanguageValue, View } from "../values.ts";
import type { ParsedPacket } from "./packet.ts";

const nop = 1;
/** Bytes of TCP header before the options. */
const fixedHeader = 20;
const maximumHeader = 60;

export class OptionsView implements View {
  readonly name = "packet.tcp.options";
  readonly #packet: ParsedPacket;
  constructor(packet: ParsedPacket) {
    this.#packet = packet;
  }

  get(): undefined {
    return undefined;
  }

  blur(lowering: Lowering, value: Value): Value {
    return blur(lowering, value, lowering.builder.read(this.#packet.tcp));
  }

  find(lowering: Lowering, test: (item: LanguageValue, yes: Block, no: Block) => void): LanguageValue {
    const { builder } = lowering;
    const packet = this.#packet;
    const offset: Variable = { name: "found", type: int64 };
    const [exit, there, none, done] = builder.blocks(4);
    builder.write(offset, builder.const(0, 64));
    this.iterate(
      lowering,
      (item, next) => {
        const yes = builder.block();
        test(item, yes, next);
        if (!lowering.enter(yes)) return builder.abandon();
        if (item.kind === "view" && item.view instanceof OptionView) builder.write(offset, item.view.offset);
        builder.jump(exit);
      },
      exit,
    );
    lowering.enter(exit);
    // Where it was found does not matter to the verifier: what follows is followed once.
    const blurred = this.blur(lowering, builder.read(offset));
    builder.branch("ule", blurred, builder.const(maximumHeader - 2, 64), there, none);
    lowering.enter(there);
    builder.write(offset, blurred);
    builder.jump(done);
    lowering.enter(none);
    builder.write(offset, builder.const(0, 64));
    builder.jump(done);
    lowering.enter(done);
    const at = builder.read(offset);
    const pointer = builder.pointerAdd(builder.read(packet.tcp), at);
    return { kind: "nullable", pointer: at, view: new FoundOptionView(packet, pointer, at) };
  }

  iterate(lowering: Lowering, body: (item: LanguageValue, next: Block) => void, exit: Block): void {
    const { builder } = lowering;
    const packet = this.#packet;
    // Offset from the TCP header.
    const position: Variable = { name: "option_offset", type: int64 };
    // Always `fixedHeader`, but the verifier must not know: it would follow every offset on its own instead of seeing that
    // one turn of the loop is much like another. It does not know that two loads give the same.
    const sum = builder.binary("add", headerLength(lowering, packet), builder.const(fixedHeader, 64));
    const first = builder.binary("sub", sum, headerLength(lowering, packet));
    const begin = builder.block();
    builder.branch("uge", first, builder.const(fixedHeader, 64), begin, exit);
    lowering.enter(begin);
    builder.write(position, first);
    // Where the verifier comes to know an offset, what it learns of that option must not be known of the header.
    const base = alias(lowering, builder.read(packet.tcp));
    const [head, present, more, measured, single, inside, next] = builder.blocks(7);
    builder.jump(head);
    builder.enter(head);
    const offset = builder.read(position);
    const limit = headerLength(lowering, packet);
    builder.branch("ult", offset, limit, present, exit);

    lowering.enter(present);
    const pointer = builder.pointerAdd(base, offset);
    builder.check(pointer, builder.read(packet.end), 1, more, exit);
    lowering.enter(more);
    const optionKind = builder.load(1, pointer, 0);
    const several = builder.block();
    builder.branch("ugt", optionKind, builder.const(nop), several, single);

    lowering.enter(several);
    builder.check(pointer, builder.read(packet.end), 2, measured, exit);
    lowering.enter(measured);
    const length = builder.load(1, pointer, 1);
    const fitting = builder.block();
    builder.branch("uge", length, builder.const(2), fitting, exit);
    lowering.enter(fitting);
    const end = builder.binary("add", offset, builder.zeroExtend(length));
    builder.branch("ule", end, limit, inside, exit);

    lowering.enter(inside);
    body({ kind: "view", view: new OptionView(packet, { pointer, offset, kind: optionKind, length }) }, next);
    builder.jump(next);
    if (lowering.enter(next)) {
      builder.write(position, end);
      builder.jump(head);
    }

    lowering.enter(single);
    const skip = builder.block();
    // End of the option list (0) ends the walk, NOP (1) is skipped.
    builder.branch("eq", optionKind, builder.const(nop), skip, exit);
    lowering.enter(skip);
    builder.write(position, builder.binary("add", offset, builder.const(1, 64)));
    builder.jump(head);
    builder.seal(head);
  }
}

/** Bytes of the TCP header, loaded anew: in each turn the verifier learns something else about it. */
function headerLength({ builder }: Lowering, packet: ParsedPacket): Value {
  const words = builder.binary("lshr", builder.loadFresh(1, builder.read(packet.tcp), 12), builder.const(4));
  return builder.zeroExtend(builder.binary("shl", words, builder.const(2)));
}

interface OptionParts {
  readonly pointer: Value;
  /** From the TCP header; 64 bits. */
  readonly offset: Value;
  /** 32 bits. */
  readonly kind: Value;
  readonly length: Value;
}

const readers: Readonly<Record<string, 1 | 2 | 4 | 8>> = { u8: 1, u16: 2, u32: 4, u64: 8 };

function constantOffset(lowering: Lowering, at: LanguageValue | undefined, node: ts.Node): number {
  if (at?.kind !== "literal" || at.value < 0n || at.value > 38n)
    return lowering.fail("notConstant", node, "The offset in an option");
  return Number(at.value);
}

class OptionView implements View {
  readonly name = "option";
  readonly #packet: ParsedPacket;
  readonly #parts: OptionParts;
  constructor(packet: ParsedPacket, parts: OptionParts) {
    this.#packet = packet;
    this.#parts = parts;
  }

  /** From the TCP header. */
  get offset(): Value {
    return this.#parts.offset;
  }

  get(lowering: Lowering, property: string): LanguageValue | undefined {
    switch (property) {
      case "kind":
        return lowering.integer("u8", this.#parts.kind);
      case "length":
        return lowering.integer("u8", this.#parts.length);
      case "subtype":
        return lowering.integer("i32", this.#subtype(lowering));
      default:
        return undefined;
    }
  }

  #subtype(lowering: Lowering): Value {
    const { builder } = lowering;
    const result: Variable = { name: "subtype", type: int32 };
    const [mptcp, exit] = [builder.block(), builder.block()];
    builder.write(result, builder.const(-1n));
    builder.branch("eq", this.#parts.kind, builder.const(kind.mptcp), mptcp, exit);
    lowering.enter(mptcp);
    this.#within(lowering, 3, exit);
    builder.write(result, builder.binary("lshr", builder.load(1, this.#parts.pointer, 2), builder.const(4)));
    builder.jump(exit);
    lowering.enter(exit);
    return builder.read(result);
  }

  /** Goes on only when the option has `size` bytes and they are in the packet; otherwise to `exit`. */
  #within(lowering: Lowering, size: number, exit: Block): void {
    const { builder } = lowering;
    const [long, inPacket] = [builder.block(), builder.block()];
    builder.branch("uge", this.#parts.length, builder.const(size), long, exit);
    lowering.enter(long);
    builder.check(this.#parts.pointer, builder.read(this.#packet.end), size, inPacket, exit);
    lowering.enter(inPacket);
  }

  call(
    lowering: Lowering,
    method: string,
    args: readonly LanguageValue[],
    node: ts.CallExpression,
  ): LanguageValue | undefined {
    const size = readers[method];
    if (size) return this.#read(lowering, method as IntegerName, size, args[0], node);
    if (method === "remove") {
      if (!lowering.effects) return lowering.fail("selectorEffect", node);
      this.#packet.removals.mark(lowering, this.#parts.offset, lowering.builder.zeroExtend(this.#parts.length));
      lowering.effects.acted();
      return { kind: "undefined" };
    }
    if (method === "save") return this.#save(lowering, args[0], node);
    if (method === "setU16") return this.#setU16(lowering, args, node);
    return undefined;
  }

  /** Copies the option into a record, NOPs behind it; false when it is longer than the field. */
  #save(lowering: Lowering, to: LanguageValue | undefined, node: ts.Node): LanguageValue {
    if (to?.kind !== "bytes" || to.bytes.kind !== "saved") return lowering.fail("notOption", node, "no field");
    const { builder } = lowering;
    const { at, capacity } = to.bytes;
    const { context, hook, ipOffset, ipLength } = this.#packet;
    const saved: Variable = { name: "saved", type: int32 };
    const [long, fits, exit] = builder.blocks(3);
    builder.write(saved, builder.const(0));
    const { length } = this.#parts;
    builder.branch("ugt", length, builder.const(1), long, exit);
    lowering.enter(long);
    builder.branch("ule", length, builder.const(capacity), fits, exit);
    lowering.enter(fits);
    fillWithNops(lowering, at, capacity);
    const tcpAt = builder.zeroExtend(builder.binary("add", builder.read(ipOffset), builder.read(ipLength)));
    const helper = hook === "xdp" ? helpers.xdpLoadBytes : helpers.skbLoadBytes;
    const offset = builder.binary("add", tcpAt, this.#parts.offset);
    builder.call(helper.number, [context, offset, at, builder.zeroExtend(length)], int64, "memory");
    builder.write(saved, builder.const(1));
    builder.jump(exit);
    lowering.enter(exit);
    return { kind: "boolean", value: builder.read(saved) };
  }

  /** Overwrites two bytes; does nothing where the option is too short. */
  #setU16(lowering: Lowering, [at, value]: readonly LanguageValue[], node: ts.Node): LanguageValue {
    if (!lowering.effects) return lowering.fail("selectorEffect", node);
    const { builder } = lowering;
    const offset = constantOffset(lowering, at, node);
    const after = lowering.coerce(value, "u16", node);
    const exit = builder.block();
    this.#within(lowering, offset + 2, exit);
    const position = builder.binary("add", builder.truncate(this.#parts.offset), builder.const(offset));
    const bytes = [builder.binary("lshr", after, builder.const(8)), builder.binary("and", after, builder.const(0xff))];
    bytes.forEach((byte, i) => {
      const odd = builder.binary("and", builder.binary("add", position, builder.const(i)), builder.const(1));
      const before = builder.load(1, this.#parts.pointer, offset + i);
      this.#packet.checksum.replaceByte(lowering, before, byte, odd);
      builder.store(1, this.#parts.pointer, offset + i, byte);
    });
    lowering.effects.acted();
    builder.jump(exit);
    lowering.enter(exit);
    return { kind: "undefined" };
  }

  #read(
    lowering: Lowering,
    type: IntegerName,
    size: 1 | 2 | 4 | 8,
    at: LanguageValue | undefined,
    node: ts.Node,
  ): LanguageValue {
    const { builder } = lowering;
    const offset = constantOffset(lowering, at, node);
    const result = lowering.variable("field", type);
    const exit = builder.block();
    builder.write(result, builder.const(0, size === 8 ? 64 : 32));
    this.#within(lowering, offset + size, exit);
    const raw = builder.load(size, this.#parts.pointer, offset);
    builder.write(result, size === 1 ? raw : builder.swap((size * 8) as 16 | 32 | 64, raw));
    builder.jump(exit);
    lowering.enter(exit);
    return lowering.readVariable(result, type);
  }
}

/** An option that was found before: its kind and length are read where they are needed. */
class FoundOptionView implements View {
  readonly name = "option";
  readonly #packet: ParsedPacket;
  readonly #pointer: Value;
  readonly #offset: Value;
  constructor(packet: ParsedPacket, pointer: Value, offset: Value) {
    this.#packet = packet;
    this.#pointer = pointer;
    this.#offset = offset;
  }

  get(lowering: Lowering, property: string): LanguageValue | undefined {
    return this.#option(lowering).get(lowering, property);
  }

  call(
    lowering: Lowering,
    method: string,
    args: readonly LanguageValue[],
    node: ts.CallExpression,
  ): LanguageValue | undefined {
    return this.#option(lowering).call(lowering, method, args, node);
  }

  #option(lowering: Lowering): OptionView {
    const { builder } = lowering;
    const kindOf: Variable = { name: "kind", type: int32 };
    const length: Variable = { name: "length", type: int32 };
    const [there, exit] = builder.blocks(2);
    builder.write(kindOf, builder.const(0));
    builder.write(length, builder.const(0));
    builder.check(this.#pointer, builder.read(this.#packet.end), 2, there, exit);
    lowering.enter(there);
    builder.write(kindOf, builder.load(1, this.#pointer, 0));
    builder.write(length, builder.load(1, this.#pointer, 1));
    builder.jump(exit);
    lowering.enter(exit);
    const parts = { pointer: this.#pointer, offset: this.#offset };
    return new OptionView(this.#packet, { ...parts, kind: builder.read(kindOf), length: builder.read(length) });
  }
}
