/**
 * State that a policy keeps between packets, or hands to the policies behind it. A descriptor that several policies of a
 * chain declare, that a selector declares, or whose policy observes, stands for one memory in the whole chain; what an
 * actor alone declares is its own, also when it stands twice in a chain.
 */
import type { Flow, SavedOption } from "./packet.ts";
import type { Socket } from "./socket.ts";
import type { Connection, StackSocket } from "./stack.ts";
import type { IntegerName, ParameterType } from "./types.ts";

/** A field: an integer type, or `bytes(n)`. */
export type FieldType = ParameterType<number, number | bigint> | BytesType;
/** A record's fields: a name and a type each. */
export type Fields = Readonly<Record<string, FieldType & { readonly seed?: KernelFact }>>;

export interface BytesType {
  readonly representation: { readonly kind: "bytes"; readonly length: number };
}

/** How a field lies in memory: an integer, or a number of bytes. */
export type FieldLayout = IntegerName | { readonly bytes: number };

/**
 * What the kernel knows of a running connection of this host: its smoothed round-trip time in µs, the shift its peer's
 * window field has, 1 for "there is such a connection", and the tokens by which this host and its peer know an MPTCP
 * connection: 0 for plain TCP, and the peer's also for a connection's first subflow, of which the kernel does not tell it.
 */
export type KernelFact = "rttUs" | "windowScale" | "present" | "tokenLocal" | "tokenRemote";
/** A record as the policy sees it. `record.field += n` is atomic in fields of 4 and 8 bytes; other writes are plain. */
export type StateRecord<F> = { -readonly [K in keyof F]: F[K] extends BytesType ? SavedOption : number };

/** A record with a flag that only one taker gets; see `claim` and `offer`. */
export type Claimable<R> = R & { readonly __claimable: true };

/** A map from flow to record, as the policy sees it. */
export interface FlowMap<R> {
  /** The flow's record, or undefined. */
  get(flow: Flow): R | undefined;
  /** The flow's record, made with zeros when there is none; undefined only when the map is full. */
  getOrCreate(flow: Flow): R | undefined;
  /** Forgets the flow. False when there was no record. */
  delete(flow: Flow): boolean;
}

/** A map from an integer to a record, as the policy sees it. */
export interface Table<R> {
  /** The key's record, or undefined. */
  get(key: number): R | undefined;
  /** The key's record, made with zeros when there is none; undefined only when the map is full. */
  getOrCreate(key: number): R | undefined;
  /** Removes the key. False when there was no record. */
  delete(key: number): boolean;
}

/** Records that the kernel keeps with a socket, as the policy sees them; with a connection's only in its scheduler. */
export interface PerSocket<R> {
  /** The socket's record, or undefined. */
  get(socket: Socket | StackSocket | Connection): R | undefined;
  /** The socket's record, made with zeros when there is none; undefined only when there is no memory. */
  getOrCreate(socket: Socket | StackSocket | Connection): R | undefined;
  /** Forgets the socket. False when there was no record. */
  delete(socket: Socket | StackSocket | Connection): boolean;
}

/** Records by their number, as the policy sees them. */
export interface Slots<R> {
  /** The record, zeros at first; undefined beyond the last one. */
  at(index: number): R | undefined;
}

/** One record for the whole chain, as the policy sees it. */
export type Shared<F> = StateRecord<F>;

export type StateKind = "flows" | "table" | "shared" | "perCpu" | "perPacket" | "perSocket" | "slots";

export interface StateType<View = unknown> {
  readonly kind: StateKind;
  readonly fields: Readonly<Record<string, FieldLayout>>;
  /** Fields that start with what the kernel knows, for connections that run when the chain is submitted. */
  readonly seeds: Readonly<Record<string, KernelFact>>;
  readonly maxEntries: number;
  /** Of a table. */
  readonly key?: IntegerName;
  /** Whether records have a flag under a spin lock. */
  readonly claimable?: true;
  /** The name under which all chains of the host share it. */
  readonly host?: string;
  readonly __view?: View;
}

/** Room for an option that `option.save(record.field)` keeps: `length` bytes, from 1 to 256. */
export function bytes(length: number): BytesType {
  if (!Number.isInteger(length) || length < 1 || length > 256)
    throw new RangeError(`Cannot declare bytes(${length}): a field has 1 to 256 bytes`);
  return { representation: { kind: "bytes", length } };
}

function layouts(fields: Fields): Record<string, FieldLayout> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, { representation }]) => {
      if (representation.kind === "bytes") return [name, { bytes: representation.length }];
      if (representation.kind === "integer") return [name, representation.type];
      throw new TypeError(`State field ${name} is not an integer type, nor bytes(…)`);
    }),
  );
}

function seeds(fields: Fields): Record<string, KernelFact> {
  return Object.fromEntries(Object.entries(fields).flatMap(([name, { seed }]) => (seed ? [[name, seed]] : [])));
}

/** A field of a flow's record that starts with what the kernel knows when the connection is older than the chain. */
export function known(
  type: ParameterType<number, number | bigint>,
  fact: KernelFact,
): ParameterType<number, number | bigint> & { readonly seed: KernelFact } {
  return { ...type, seed: fact };
}

/** A record per flow, the least recently used dropped when `max` flows are known. */
export function flows<const F extends Fields>(fields: F, max = 65_536): StateType<FlowMap<StateRecord<F>>> {
  return { kind: "flows", fields: layouts(fields), seeds: seeds(fields), maxEntries: entries("flows", max) };
}

/**
 * A record per integer of type `key` (a token, an address id, a port), the least recently used dropped when there are
 * `max`.
 */
export function table<const F extends Fields>(
  key: ParameterType<number, number | bigint>,
  fields: F,
  max = 65_536,
): StateType<Table<StateRecord<F>>> {
  if (key.representation.kind !== "integer") throw new TypeError("Cannot declare a table: its key is no integer type");
  const maxEntries = entries("a table", max);
  return { kind: "table", key: key.representation.type, fields: layouts(fields), seeds: {}, maxEntries };
}

/** One record that all packets of the chain share. */
export function shared<const F extends Fields>(fields: F): StateType<Shared<F>> {
  return { kind: "shared", fields: layouts(fields), seeds: {}, maxEntries: 1 };
}

/** One record per CPU: cheap to count in, since no two CPUs write to the same. Readers see the CPUs' values, or the sum. */
export function perCpu<const F extends Fields>(fields: F): StateType<StateRecord<F>> {
  return { kind: "perCpu", fields: layouts(fields), seeds: {}, maxEntries: 1 };
}

/** A record per socket, which goes with the socket: for policies on sockets and in the stack. */
export function perSocket<const F extends Fields>(fields: F): StateType<PerSocket<StateRecord<F>>> {
  return { kind: "perSocket", fields: layouts(fields), seeds: {}, maxEntries: 0 };
}

/**
 * Records numbered from 0 to `max` - 1. User space reads and writes them as memory of its own, without a system call: who
 * wants a record whole keeps a number in it that changes with it.
 */
export function slots<const F extends Fields>(fields: F, max: number): StateType<Slots<StateRecord<F>>> {
  return { kind: "slots", fields: layouts(fields), seeds: {}, maxEntries: entries("slots", max) };
}

/** What policies of a chain tell those behind them about one packet: zero when the packet comes. Integers only. */
export function perPacket<const F extends Readonly<Record<string, ParameterType<number, number | bigint>>>>(
  fields: F,
): StateType<StateRecord<F>> {
  return { kind: "perPacket", fields: layouts(fields), seeds: {}, maxEntries: 1 };
}

/**
 * The same state, each record with a flag that `offer(record)` sets and one `claim(record)` takes. Flows and tables are
 * then full at their maximum (`getOrCreate` gives undefined) instead of dropping what was not used for long: the kernel
 * has no locks in maps that drop entries.
 */
export function claimable<R>(state: StateType<FlowMap<R>>): StateType<FlowMap<Claimable<R>>>;
export function claimable<R>(state: StateType<Table<R>>): StateType<Table<Claimable<R>>>;
export function claimable<R>(state: StateType<R>): StateType<Claimable<R>>;
export function claimable(state: StateType): StateType {
  if (state.kind === "perCpu" || state.kind === "perPacket")
    throw new TypeError(`Cannot make ${state.kind} state claimable: only one taker ever sees a record of it`);
  if (state.kind === "slots")
    throw new TypeError(
      "Cannot make slots claimable: memory that programs outside map has no locks; use compareExchange",
    );
  return { ...state, claimable: true };
}

const hostName = /^[a-z][a-z0-9_]{0,31}$/;

/**
 * The same state, one for all chains of the host that name it: the first one makes it, and it goes with the last one.
 * @param name [a-z][a-z0-9_]*, at most 32 characters
 */
export function hostWide<View>(name: string, state: StateType<View>): StateType<View> {
  if (!hostName.test(name))
    throw new TypeError(
      `Cannot share state "${name}" on the host: a name is made of a-z, 0-9 and _, starts with a letter and has at most 32`,
    );
  if (state.kind === "perPacket")
    throw new TypeError(`Cannot share state "${name}" on the host: it lasts for one packet`);
  if (state.kind === "perSocket")
    throw new TypeError(`Cannot share state "${name}" on the host: records of sockets are a policy's own; use flows`);
  return { ...state, host: name };
}

function entries(what: string, max: number): number {
  if (Number.isInteger(max) && max >= 1 && max <= 1 << 24) return max;
  throw new RangeError(`Cannot declare ${what} of ${max} records: between 1 and ${1 << 24} are possible`);
}

export type StateViews<S> = { readonly [K in keyof S]: S[K] extends StateType<infer V> ? V : never };
