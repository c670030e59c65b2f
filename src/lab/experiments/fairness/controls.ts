/** What the subflows of the experiment's MPTCP connections are under. */
import type { Lab } from "../../lab.ts";

export interface Control {
  readonly name: string;
  /** Whether the subflows of a connection know of each other. */
  readonly coupled: boolean;
  /** Prepares hosts for the connections that they open from now on. */
  readonly arrange: (lab: Lab, hosts: readonly string[]) => Arranged;
}

export interface Arranged {
  /** The congestion control that a socket asks for. */
  readonly congestionControl: string;
  readonly undo: () => void;
}

/** The kernel's own, each subflow for itself. */
export const uncoupled: Control = {
  name: "reno",
  coupled: false,
  arrange: () => ({ congestionControl: "reno", undo: () => {} }),
};

export const controls: readonly Control[] = [uncoupled];
