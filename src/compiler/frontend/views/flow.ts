/** `packet.flow` and `socket.flow`: the 4-tuple from this host's point of view, and the key it makes in state maps. */
import type { Value } from "../../ir/ir.ts";
import { halves } from "../addresses.ts";
import type { Lowering } from "../lowering.ts";
import type { AddressValue, LanguageValue, View } from "../values.ts";

export interface FlowParts {
  local(): AddressValue;
  remote(): AddressValue;
  /** Host order, 32 bits. */
  localPort(): Value;
  remotePort(): Value;
}

export class FlowView implements View {
  readonly name = "a flow";
  readonly #parts: FlowParts;
  constructor(parts: FlowParts) {
    this.#parts = parts;
  }

  get(lowering: Lowering, property: string): LanguageValue | undefined {
    switch (property) {
      case "local":
      case "remote":
        return { kind: "address", address: this.#parts[property]() };
      case "localPort":
      case "remotePort":
        return lowering.integer("u16", this.#parts[property]());
      default:
        return undefined;
    }
  }

  /** Writes the key, by default to the stack; returns the address. */
  key(lowering: Lowering, key = lowering.scratch.flowKey, at = 0): Value {
    const { builder } = lowering;
    const words = [...halves(lowering, this.#parts.local()), ...halves(lowering, this.#parts.remote())];
    words.forEach((word, i) => builder.store(8, key, at + 8 * i, word));
    const ports = builder.binary(
      "or",
      this.#parts.localPort(),
      builder.binary("shl", this.#parts.remotePort(), builder.const(16)),
    );
    builder.store(8, key, at + 32, builder.zeroExtend(ports));
    return key;
  }
}
