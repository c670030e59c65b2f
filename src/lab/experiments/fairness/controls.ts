/** What the subflows of the experiment's MPTCP connections are under. */
import { registerInStack } from "../../../instack/index.ts";
import { Strategies } from "../../../instack/strategies.ts";
import { emptcp } from "../../../policies/stack/index.ts";
import type { Lab } from "../../lab.ts";

/** The kernel's own, each subflow for itself. */
export const uncoupled = "reno";
/** Those that let a connection's subflows grow together. */
const coupled = ["lia", "olia", "balia", "wvegas"] as const;
/** Fair to a TCP that fills queues; wVegas yields to it. */
export const lossBased = ["lia", "olia", "balia"] as const;
export const controls = [uncoupled, ...coupled] as const;
export type Control = (typeof controls)[number];

let registered = 0;

/** What does the coupled ones, registered in the stack while the lab is open, under a name of its own. */
export class Coupling {
  readonly name = `lab${process.pid.toString(36)}x${registered++}`;
  readonly #strategies: Strategies;

  /** @throws InStackError, KernelError where the kernel takes no congestion control */
  constructor(lab: Lab) {
    const actor = registerInStack(emptcp, { name: this.name, base: "reno", stays: false });
    const forget = lab.whenClosed(() => {
      this.#strategies[Symbol.dispose]();
      actor.remove();
    });
    try {
      this.#strategies = new Strategies();
    } catch (error) {
      forget();
      actor.remove();
      throw error;
    }
  }

  /** What a socket has to ask for. */
  congestionControl(control: Control): string {
    return control === uncoupled ? uncoupled : this.name;
  }

  /** Tells a connection of this machine, by its token, how its subflows grow. */
  tell(token: number, control: Control): void {
    if (control !== uncoupled) this.#strategies.set({ token }, { kind: "coupled", algorithm: control });
  }
}
