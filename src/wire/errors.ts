/** The one error of this folder: every parser and emitter throws it, and nothing else, for bytes or values it refuses. */

/** Where in the stack of headers the trouble is. */
export type WireLayer =
  | "Ethernet"
  | "IPv4"
  | "IPv6"
  | "TCP"
  | "TCP option"
  | "MPTCP option"
  | "IP address"
  | "IP prefix"
  | "MAC address"
  | "capture";

/**
 * Thrown when bytes cannot be parsed or a value cannot be emitted.
 *
 * `offset` counts bytes from the start of what was given to the parser (for {@link WireLayer} addresses: characters);
 * for an emitter, from the start of the layer named.
 */
export class WireError extends Error {
  override readonly name = "WireError";
  readonly layer: WireLayer;
  readonly offset: number;
  readonly reason: string;

  constructor(action: "parse" | "emit", layer: WireLayer, offset: number, reason: string) {
    super(`Cannot ${action} ${layer} at byte ${offset}: ${reason}`);
    this.layer = layer;
    this.offset = offset;
    this.reason = reason;
  }
}
