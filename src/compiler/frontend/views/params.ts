/** The `params` object: constants of a selector, words of the parameters map for an actor. */
import type ts from "#typescript";
import { parameterSize, parametersMap, type ParameterSlot } from "../../layout.ts";
import { integerSizes } from "../../../policy/types.ts";
import type { Value } from "../../ir/ir.ts";
import type { Lowering } from "../lowering.ts";
import type { ConstantPrefix, LanguageValue, View } from "../values.ts";

/** A selector's parameter value, as the chain checked it. */
export type ConstantValue = bigint | boolean | string | ConstantPrefix;

export class ConstantsView implements View {
  readonly name = "params";
  readonly #values: Readonly<Record<string, ConstantValue>>;
  constructor(values: Readonly<Record<string, ConstantValue>>) {
    this.#values = values;
  }

  get(_lowering: Lowering, property: string): LanguageValue | undefined {
    const value = this.#values[property];
    switch (typeof value) {
      case "bigint":
        return { kind: "literal", value };
      case "boolean":
        return { kind: "static", value };
      case "string":
        return { kind: "string", value };
      case "object":
        return value.isAddress
          ? { kind: "address", address: { kind: "constant", family: value.family, bytes: value.bytes } }
          : { kind: "prefix", prefix: value };
      default:
        return undefined;
    }
  }
}

export class ParametersView implements View {
  readonly name = "params";
  readonly #slots: readonly ParameterSlot[];
  readonly #words: Value | undefined;
  readonly #fromMember: (name: string) => LanguageValue | undefined;
  /**
   * @param words where the copy of the words begins that is in force; absent where there is only one
   * @param fromMember gives parameters that come from the member of a set instead
   */
  constructor(
    slots: readonly ParameterSlot[],
    words: Value | undefined,
    fromMember: (name: string) => LanguageValue | undefined,
  ) {
    this.#slots = slots;
    this.#words = words;
    this.#fromMember = fromMember;
  }

  get(lowering: Lowering, property: string, node: ts.Node): LanguageValue | undefined {
    const slot = this.#slots.find(({ name }) => name === property);
    if (!slot) return this.#fromMember(property);
    const { builder } = lowering;
    const words = this.#words ?? builder.mapValue(parametersMap, 0);
    const { representation } = slot.type;
    switch (representation.kind) {
      case "integer":
        return lowering.integer(
          representation.type,
          builder.load(integerSizes[representation.type], words, slot.offset),
        );
      case "boolean":
        return lowering.boolean("ne", builder.load(1, words, slot.offset), builder.const(0));
      case "choice":
        return { kind: "choice", words: representation.choices, value: builder.load(1, words, slot.offset) };
      case "text":
        return {
          kind: "text",
          at: builder.pointerAdd(words, builder.const(slot.offset, 64)),
          size: parameterSize(slot.type),
        };
      default:
        return lowering.fail("addressUse", node);
    }
  }
}
