/** Congestion control that a chain's actors give to sockets: it has to be registered, or the kernel refuses it to each of them. */
import { availableCongestionControls } from "../linux/congestion-control.ts";
import type { ParameterType } from "../policy/index.ts";
import { ParameterError } from "./inputs.ts";

/**
 * @param where for messages: `stack_rate.control`
 * @throws ParameterError for the name of congestion control that is not registered
 */
export function checkControl({ unit }: Pick<ParameterType, "unit">, input: unknown, where: string): void {
  if (unit !== "congestionControl") return;
  const available = availableCongestionControls();
  if (available.includes(String(input))) return;
  const named = input === "emptcp" ? "" : ` --name ${String(input)}`;
  throw new ParameterError(
    `Cannot use ${where}=${String(input)}: no congestion control of that name is registered. ` +
      `Register it first (emptcp stack start${named}), or name one that there is: ${available.join(", ")}`,
  );
}
