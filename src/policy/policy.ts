/**
 * Policies: selectors pick packets, actors act on them. A policy is defined once, by a call of `selector` or `actor` in a
 * file of its own or of a user's; what the call returns describes the policy, and says which file to compile.
 */
import { definePolicy } from "./define.ts";
import type { Packet } from "./packet.ts";
import { socketEvents, type Socket, type SocketEvent } from "./socket.ts";
import type { StateType, StateViews } from "./state.ts";
import type { Address, Inputs, ParameterType, Prefix, Values } from "./types.ts";

export type Parameters = Readonly<Record<string, ParameterType<never, never> | ParameterType>>;
export type State = Readonly<Record<string, StateType>>;

/** What a policy is, without its code. */
export interface Policy<P = Parameters> {
  readonly kind: "selector" | "actor";
  /** `packet` policies run for every packet of an interface, `socket` policies for every subflow of this host, `stack` policies in it. */
  readonly on: "packet" | "socket" | "stack";
  readonly name: string;
  readonly params: P;
  readonly state: State;
  /** Whether it looks at every TCP packet, before the selectors. */
  readonly observes: boolean;
  /** What is wrong with parameters that are each right by themselves; see `selector`. */
  check?(values: Readonly<Record<string, unknown>>): string | undefined;
  /** Whether a selector says what its members are, so that these may be kept in a set. */
  readonly hasMembers: boolean;
  /** Of an actor on sockets: what runs it, and whether it says itself how to undo what it did. */
  readonly at?: readonly SocketEvent[];
  readonly releases?: boolean;
  /** Packets an actor needs to see; the chain is attached accordingly unless told otherwise. */
  readonly direction: "ingress" | "egress" | "both";
  /** The module that defines the policy, as in a stack trace: a path or a file URL. */
  readonly module: string;
  /** The code of a policy that is not compiled from TypeScript. */
  readonly foreign?: ForeignCode;
}

/** A program in an object file, made from C with `include/emptcp.h`. */
export interface ForeignCode {
  /** For messages. */
  readonly file: string;
  readonly object: Uint8Array;
  /** The function's name. */
  readonly program: string;
}
export type Selector<P = Parameters> = Policy<P> & { readonly kind: "selector" };
export type Actor<P = Parameters> = Policy<P> & { readonly kind: "actor" };
export type InputsOf<T> = T extends Policy<infer P> ? Inputs<P> : never;

/**
 * Learns from every TCP packet of the chain's packet hooks, before the selectors are evaluated, whatever they say. A
 * function that several policies name, of state they share, runs once per packet; it may write to state and emit events.
 */
export type Observe<S> = (packet: Packet, state: StateViews<S>) => void;

/**
 * What tells a selector's members apart: a property for each of its parameters that is a number, an address or (as an
 * address) a prefix. Words and booleans are constants of a whole set.
 */
export type Member<P> = {
  readonly [K in keyof P as MemberValue<P[K]> extends never ? never : K]: MemberValue<P[K]>;
};
/** Parameters as they are checked: integers, words and booleans. */
export type Checked<P> = {
  readonly [K in keyof P]: P[K] extends ParameterType<infer V, infer _> ? (V extends number ? bigint : V) : never;
};
type MemberValue<T> =
  T extends ParameterType<infer V, infer _>
    ? V extends Prefix
      ? Address
      : V extends number | Address
        ? V
        : never
    : never;

/**
 * Defines a selector: `run` says whether the packet is meant. Its parameters are constants of the compiled chain. It may
 * write to its state, but not to packets. With `member`, which says what a packet would be in a set of the selector's
 * members, any number of them cost one look-up. `check`, which alone runs as JavaScript, says what is wrong with parameters that are
 * each right by themselves.
 */
export function selector<const P extends Parameters = {}, const S extends State = {}>(options: {
  name: string;
  params?: P;
  state?: S;
  observe?: Observe<S>;
  run(packet: Packet, params: Values<P>, state: StateViews<S>): boolean;
  member?(packet: Packet, params: Values<P>, state: StateViews<S>): Member<P> | undefined;
  check?(values: Checked<P>): string | undefined;
}): Selector<P> {
  return definePolicy("selector", options) as unknown as Selector<P>;
}

/** Defines an actor on packets. Its parameters live in a map and may change while the chain runs. */
export function actor<const P extends Parameters = {}, const S extends State = {}>(options: {
  name: string;
  params?: P;
  state?: S;
  direction?: "ingress" | "egress" | "both";
  observe?: Observe<S>;
  run(packet: Packet, params: Values<P>, state: StateViews<S>): void;
}): Actor<P> {
  return definePolicy("actor", options) as unknown as Actor<P>;
}

/**
 * Defines an actor on this host's subflows. It runs for what happens to those that the selectors match, by default once they
 * are established; see `socketEvents`. When the chain is removed or becomes another one, `release` runs for those it matches; without one, `run`
 * does and all it sets is what sockets have by themselves: no caps, mark and TOS 0, the usual timers, the same congestion control.
 */
export function socketActor<const P extends Parameters = {}, const S extends State = {}>(options: {
  name: string;
  params?: P;
  state?: S;
  at?: readonly SocketEvent[];
  run(socket: Socket, params: Values<P>, state: StateViews<S>): void;
  release?(socket: Socket, params: Values<P>, state: StateViews<S>): void;
}): Actor<P> {
  const { at = ["established"], ...rest } = options;
  if (at.length === 0 || !at.every((event) => socketEvents.includes(event)))
    throw new TypeError(
      `Cannot define actor "${options.name}": it runs at ${at.join(", ") || "nothing"}; name some of ${socketEvents.join(", ")}`,
    );
  const policy = definePolicy("actor", { ...rest, on: "socket", direction: "egress" });
  return { ...policy, at, releases: "release" in options } as unknown as Actor<P>;
}
