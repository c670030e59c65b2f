/** `emptcp stack …`: congestion control in the kernel's stack. */
import type { Command } from "commander";
import { addStackChange } from "./stack-change.ts";
import { addStackInspect } from "./stack-inspect.ts";
import { addStrategy } from "./stack-strategy.ts";

export function addStack(program: Command): void {
  const stack = program
    .command("stack")
    .summary("register, list, show, replace and stop congestion control in the kernel's stack")
    .description(
      "Congestion control in TypeScript that the kernel's own TCP and MPTCP run, on top of cubic, reno or bbr.\n" +
        "It stays registered after the command has ended, until it is stopped.",
    )
    .addHelpText(
      "after",
      `
Sockets use it that are told to: by a chain's actor (stack_rate, stack_weight, …), by
sysctl net.ipv4.tcp_congestion_control in a network namespace, or by TCP_CONGESTION.

Without a file it is emptcp, which does for each subflow what its strategy says: a window,
a rate, credits, a weight, coupled growth. Without a strategy it does what its base does.

  sudo emptcp stack start
  sudo emptcp stack strategy set 10.0.1.1:40000,10.0.9.1:443 rate 20mbit
  sudo emptcp stack metrics
  sudo emptcp stack stop emptcp

A file of your own exports congestion control, e.g. gentle.ts:

  import { base, congestionControl, min } from "emptcp/policy";

  export const gentle = congestionControl({
    name: "gentle",
    congAvoid(socket, ack, acked) {
      base.congAvoid(socket, ack, acked);
      socket.cwnd = min(socket.cwnd, 100);
    },
  });`,
    );
  addStackChange(stack);
  addStackInspect(stack);
  addStrategy(stack);
}
