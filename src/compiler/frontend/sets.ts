/** Looking members up: a selector whose members are in a set takes one look-up, and brings along the member's parameters. */
import ts from "#typescript";
import { helpers } from "../../bpf/helpers.ts";
import { integerSizes, type ParameterType } from "../../policy/types.ts";
import type { Variable } from "../ir/builder.ts";
import { int32, int64, pointer, type Block, type Value } from "../ir/ir.ts";
import { keyFieldSize, prefixKey, type SetField, type SetSlot } from "../sets.ts";
import { halves } from "./addresses.ts";
import { withReturn } from "./calls.ts";
import { lowerExpression, member } from "./expressions.ts";
import type { Lowering } from "./lowering.ts";
import type { MemberWords } from "./packet-memory.ts";
import type { RunFunction } from "./program.ts";
import { bindPattern, lowerStatement } from "./statements.ts";
import { describeValue, type AddressValue, type LanguageValue } from "./values.ts";

/** What the sets of a chain gave for the packet at hand. */
export class MatchedMembers {
  readonly #lowering: Lowering;
  readonly #words = new Map<string, { readonly variable: Variable; readonly type: ParameterType }>();

  constructor(lowering: Lowering) {
    this.#lowering = lowering;
  }

  /** Whether the program has found the parameter, on the way to where it is now. */
  has(set: string, field: string): boolean {
    return this.#words.has(`${set}.${field}`);
  }

  /**
   * Goes to `no` unless what `run` makes of `args` is a member. Its parameters are read at once: should the member be
   * replaced while the packet is under way, the packet still meets one of the two whole.
   */
  lookUp(slot: SetSlot, run: RunFunction, args: readonly LanguageValue[], yes: Block, no: Block): void {
    const { builder } = this.#lowering;
    const memory = this.#lowering.packetMemory?.memberWords;
    const key = this.#key(slot, new MemberFields(this.#lowering, run, args, no));
    const found = builder.block();
    const record = builder.call(
      helpers.mapLookupElem.number,
      [builder.map(slot.map), key],
      pointer("map", true),
      "memory",
    );
    builder.branch("ne", record, builder.const(0, 64), found, no);
    this.#lowering.enter(found);
    for (const { name, type, offset } of slot.params) {
      const bytes = wordSize(type);
      const word = this.#word(`${slot.name}.${name}`, type);
      const value = builder.load(bytes, record, offset);
      builder.write(word, value);
      memory?.store(`${slot.name}.${name}`, bytes, value);
    }
    builder.jump(yes);
  }

  /** Reads what another program of the chain found. */
  recall(slot: SetSlot, field: string, memory: MemberWords): void {
    const { type } = slot.params.find(({ name }) => name === field)!;
    const key = `${slot.name}.${field}`;
    this.#lowering.builder.write(this.#word(key, type), memory.load(key, wordSize(type)));
  }

  #word(key: string, type: ParameterType): Variable {
    let word = this.#words.get(key);
    if (!word) {
      word = { variable: { name: key, type: wordSize(type) === 8 ? int64 : int32 }, type };
      this.#words.set(key, word);
    }
    return word.variable;
  }

  /** A parameter of the member matched. */
  parameter(set: string, field: string): LanguageValue {
    const { builder } = this.#lowering;
    const { variable, type } = this.#words.get(`${set}.${field}`)!;
    const value = builder.read(variable);
    const { representation } = type;
    switch (representation.kind) {
      case "integer":
        return this.#lowering.integer(representation.type, value);
      case "choice":
        return { kind: "choice", words: representation.choices, value };
      default:
        return this.#lowering.boolean("ne", value, builder.const(0));
    }
  }

  /** Writes the key to the stack; returns its address. */
  #key(slot: SetSlot, fields: MemberFields): Value {
    const lowering = this.#lowering;
    const { builder } = lowering;
    const words =
      slot.kind === "prefixes"
        ? this.#prefixWords(fields.address(slot.key[0]))
        : [
            ...slot.key
              .filter(({ type }) => type.representation.kind === "address")
              .flatMap((field) => halves(lowering, fields.address(field))),
            ...this.#integerWords(slot, fields),
          ];
    const key = lowering.scratch.flowKey;
    words.forEach((word, i) => builder.store(8, key, 8 * i, word));
    return key;
  }

  #prefixWords(address: AddressValue): Value[] {
    const { builder } = this.#lowering;
    const isV4 = address.kind === "constant" ? builder.const(address.family === 4 ? 1 : 0) : address.isV4();
    const family = builder.binary("sub", builder.const(6), builder.binary("shl", isV4, builder.const(1)));
    const bits = builder.const(prefixKey.familyBits + 128, 64);
    const first = builder.binary("or", builder.binary("shl", builder.zeroExtend(family), builder.const(32, 64)), bits);
    return [first, ...halves(this.#lowering, address)];
  }

  /** The key's words behind the addresses, each made of the integers that lie in it. */
  #integerWords(slot: SetSlot, fields: MemberFields): Value[] {
    const { builder } = this.#lowering;
    const integers = slot.key.filter(({ type }) => type.representation.kind === "integer");
    const words: Value[] = [];
    for (const field of integers) {
      const value = fields.integer(field);
      const at = Math.floor(field.offset / 8) * 8;
      const index = (at - (integers[0].offset & ~7)) / 8;
      const wide = keyFieldSize(field.type) === 8 ? value : builder.zeroExtend(value);
      const shift = 8 * (field.offset - at);
      const shifted = shift === 0 ? wide : builder.binary("shl", wide, builder.const(shift, 64));
      words[index] = words[index] ? builder.binary("or", words[index], shifted) : shifted;
    }
    return words;
  }
}

const wordSize = ({ representation }: ParameterType): 1 | 2 | 4 | 8 =>
  representation.kind === "integer" ? integerSizes[representation.type] : 1;

/** What `member` returns: an object, written out or one that the packet has, with a property for each field of the key. */
class MemberFields {
  readonly #lowering: Lowering;
  readonly #run: RunFunction;
  readonly #result: ts.Expression;
  #whole: LanguageValue | undefined;

  /** A packet for which there is none goes to `none`. */
  constructor(lowering: Lowering, run: RunFunction, args: readonly LanguageValue[], none: Block) {
    this.#lowering = lowering;
    this.#run = run;
    run.parameters.forEach((parameter, i) => bindPattern(lowering, parameter.name, args[i] ?? { kind: "undefined" }));
    const body = run.body!;
    const statements = ts.isBlock(body) ? body.statements : [];
    // An early return undefined, as a condition, is false.
    const yes = lowering.builder.block();
    withReturn(lowering, { kind: "condition", yes, no: none }, () => {
      for (const statement of statements.slice(0, -1)) lowerStatement(lowering, statement);
    });
    if (lowering.builder.isReached(yes)) lowering.fail("memberResult", run);
    const last = statements.at(-1);
    const result = ts.isBlock(body) ? (last && ts.isReturnStatement(last) ? last.expression : undefined) : body;
    this.#result = this.#chosen(result ?? lowering.fail("memberResult", run));
  }

  /** The object that constants of the set decide on. */
  #chosen(node: ts.Expression): ts.Expression {
    if (ts.isParenthesizedExpression(node)) return this.#chosen(node.expression);
    if (!ts.isConditionalExpression(node)) return node;
    const condition = lowerExpression(this.#lowering, node.condition);
    if (condition.kind !== "static") return this.#lowering.fail("memberResult", node);
    return this.#chosen(condition.value ? node.whenTrue : node.whenFalse);
  }

  #field({ name }: SetField): { value: LanguageValue; node: ts.Node } {
    const lowering = this.#lowering;
    const result = this.#result;
    if (!ts.isObjectLiteralExpression(result)) {
      this.#whole ??= lowerExpression(lowering, result);
      if (this.#whole.kind === "undefined") return lowering.fail("noMember", this.#run);
      return { value: member(lowering, this.#whole, name, result), node: result };
    }
    const property = result.properties.find((one) => one.name && ts.isIdentifier(one.name) && one.name.text === name);
    if (!property || !(ts.isPropertyAssignment(property) || ts.isShorthandPropertyAssignment(property)))
      return lowering.fail("memberResult", result);
    const node = ts.isPropertyAssignment(property) ? property.initializer : property.name;
    return { value: lowerExpression(lowering, node), node };
  }

  address(field: SetField): AddressValue {
    const { value, node } = this.#field(field);
    return value.kind === "address" ? value.address : this.#lowering.fail("addressUse", node);
  }

  integer(field: SetField): Value {
    const { value, node } = this.#field(field);
    const { representation } = field.type;
    if (representation.kind !== "integer") return this.#lowering.fail("notInteger", node, describeValue(value));
    return this.#lowering.coerce(value, representation.type, node);
  }
}
