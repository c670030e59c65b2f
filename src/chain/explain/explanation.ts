/** What is told of one packet. */
import type { PacketHook } from "../../compiler/index.ts";
import type { PacketChange } from "../../wire/index.ts";
import type { Directed } from "./direction.ts";
import type { StateChange } from "./state-changes.ts";

export interface PacketToExplain {
  /** From the Ethernet header on. */
  readonly frame: Uint8Array;
  /** Bytes on the wire, where the capture kept less: the rest is taken to be zeros. */
  readonly originalLength?: number;
  readonly timestampNs?: bigint;
  readonly direction?: "ingress" | "egress";
}

/** Who sent what to whom. */
export interface PacketSummary {
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
  /** `SYN,ACK` */
  readonly flags: string;
  readonly payloadBytes: number;
  /** In words, in order; padding is left out. */
  readonly options: readonly string[];
}

export interface SelectorAnswer {
  readonly name: string;
  readonly params: Readonly<Record<string, string>>;
  /** `not asked`: what came before it in the expression had decided. */
  readonly answer: "matched" | "not matched" | "not asked" | "disabled";
}

/** `answer`: instead of passing, the packet goes back to its sender. */
export type Verdict = "pass" | "drop" | "redirect" | "answer";

export interface ActorDeed {
  readonly name: string;
  /** `idle`: it ran and saw nothing to do; `not on packets`: it acts on sockets. */
  readonly did: "acted" | "could not" | "idle" | "not asked" | "not on packets" | "disabled";
  /** Why it could not, by its own words. */
  readonly reasons: readonly string[];
  /** How the packet differs from what it would be without this actor and those behind it. */
  readonly changes: readonly PacketChange[];
  /** What became of the packet, where that is this actor's doing. */
  readonly verdict?: Verdict;
}

export interface EmittedEvent {
  readonly policy: string;
  readonly name: string;
  /** Fields of 64 bits are bigints. */
  readonly fields: Readonly<Record<string, number | bigint>>;
}

/** A copy that leaves on its own. */
export interface PacketCopy {
  /** Where to; absent where it takes the packet's own way, ahead of it. */
  readonly interface?: string;
  readonly changes: readonly PacketChange[];
}

interface Common {
  /** From 1, in the order of the capture. */
  readonly number: number;
  readonly timestampNs?: bigint;
  readonly frame: Uint8Array;
}

/** The chain does not see the packet, or it cannot be shown here. */
export interface SkippedPacket extends Common {
  readonly kind: "skipped";
  readonly reason: string;
  readonly packet?: PacketSummary;
  readonly direction?: Directed;
}

export interface ExplainedPacket extends Common {
  readonly kind: "explained";
  readonly packet: PacketSummary;
  readonly direction: Directed;
  readonly hook: PacketHook;
  /** Whether the capture cut the packet. */
  readonly cut: boolean;
  readonly matched: boolean;
  readonly selectors: readonly SelectorAnswer[];
  readonly actors: readonly ActorDeed[];
  /** What policies told user space. */
  readonly events: readonly EmittedEvent[];
  /** What policies remembered of this packet. */
  readonly state: readonly StateChange[];
  readonly verdict: Verdict;
  /** Where a redirected packet goes: an interface, by name where its parameter gave one, else by number. */
  readonly redirectedTo?: string;
  readonly copies: readonly PacketCopy[];
  /** Fields of the socket buffer that the chain set, `mark` and `priority`. */
  readonly context: Readonly<Record<string, number>>;
  readonly after: Uint8Array;
  readonly changes: readonly PacketChange[];
}

export type Explanation = ExplainedPacket | SkippedPacket;
