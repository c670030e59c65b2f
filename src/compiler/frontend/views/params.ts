/** The `params` object: constants of a selector, words of the parameters map for an actor. */
import type ts from "typescript6";
import { parametersMap, type ParameterSlot } from "../../layout.ts";
import { integerSizes } from "../../../policy/types.ts";
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
  readonly #fromMember: (name: string) => LanguageValue | undefined;
  /** `fromMember` gives parameters that come from the member of a set instead. */
  constructor(slots: readonly ParameterSlot[], fromMember: (name: string) => LanguageValue | undefined) {
    this.#slots = slots;
    this.#fromMember = fromMember;
  }

  get(lowering: Lowering, property: string, node: ts.Node): LanguageValue | undefined {
    const slot = this.#slots.find(({ name }) => name === property);
    if (!slot) return this.#fromMember(property);
    const { builder } = lowering;
    const word = builder.mapValue(parametersMap, slot.offset);
    const { representation } = slot.type;
    switch (representation.kind) {
      case "integer":
        return lowering.integer(representation.type, builder.load(integerSizes[representation.type], word, 0));
      case "boolean":
        return lowering.boolean("ne", builder.load(1, word, 0), builder.const(0));
      case "choice":
        return { kind: "choice", words: representation.choices, value: builder.load(1, word, 0) };
      default:
        return lowering.fail("addressUse", node);
    }
  }
}
