/** What an actor in the stack says of itself: kept in a map beside its pins, so that any process can list and change it. */
import type { Base } from "../policy/stack.ts";
import type { ChainLayout } from "../compiler/layout.ts";

export const currentVersion = 1;

/** The process that registered an actor. */
export interface Owner {
  readonly pid: number;
  /** When the process started, as `startTimeOf` says: a later process may have its number. */
  readonly started: string;
}

export interface StackDescription {
  readonly version: number;
  /** Why it can only be listed and stopped; absent where it can be changed. */
  readonly fixed?: string;
  /** The name of the congestion control, for sockets and namespaces. */
  readonly name: string;
  readonly policy: string;
  /** The module that defines the policy: a path; absent for built-in ones. */
  readonly file?: string;
  /** Of congestion control: what does the operations that the policy does not define. */
  readonly base?: Base;
  /** It is a packet scheduler of MPTCP, not congestion control. */
  readonly schedules?: true;
  /** The operations that the policy defines, as it calls them. */
  readonly operations: readonly string[];
  readonly layout: ChainLayout;
  /** Counts how often it was replaced, from 1. */
  readonly generation: number;
  readonly owner: Owner;
  /** False for one that goes with the process that registered it. */
  readonly stays: boolean;
  /** Whether sockets that ran when it took another one's place were moved to it. */
  readonly moves: boolean;
  /** ISO 8601. */
  readonly registered: string;
  /** Since when it is as it is, where it has been replaced. */
  readonly changed?: string;
}

export function encodeDescription(description: StackDescription): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(description));
}

/** Of one that a later version made, what is known of all. @throws SyntaxError when the bytes are no description */
export function decodeDescription(bytes: Uint8Array, name: string): StackDescription {
  const parsed = JSON.parse(new TextDecoder().decode(bytes).replace(/\0+$/, "")) as StackDescription | null;
  if (typeof parsed?.version !== "number") throw new SyntaxError(`Cannot read the description of ${name}: it is none`);
  return parsed.version === currentVersion ? parsed : foreignDescription(name, parsed.version);
}

function foreignDescription(name: string, version: number): StackDescription {
  return {
    version,
    fixed: `another version of emptcp registered it (its description has version ${version}, this one knows ${currentVersion})`,
    name,
    policy: "",
    operations: [],
    layout: { parameters: [], counters: [], state: [], events: [], sets: [], memberParameters: [] },
    generation: 1,
    owner: { pid: 0, started: "" },
    stays: true,
    moves: true,
    registered: "",
  };
}
