/** State that a policy keeps between packets: maps from flows to records. */
import type { Flow } from "./packet.ts";
import type { IntegerName, ParameterType } from "./types.ts";

/** A record's fields: a name and an integer type each. */
export type Fields = Readonly<Record<string, ParameterType<number, number | bigint> & { readonly seed?: KernelFact }>>;

/**
 * What the kernel knows of a running connection of this host: its smoothed round-trip time in µs, the shift its peer's
 * window field has, and 1 for "there is such a connection".
 */
export type KernelFact = "rttUs" | "windowScale" | "present";
/** A record as the policy sees it. `record.field += n` is atomic; other writes are plain. */
export type StateRecord<F> = { -readonly [K in keyof F]: number };

/** A map from flow to record, as the policy sees it. */
export interface FlowMap<F> {
  /** The flow's record, or undefined. */
  get(flow: Flow): StateRecord<F> | undefined;
  /** The flow's record, made with zeros when there is none; undefined only when the map is full. */
  getOrCreate(flow: Flow): StateRecord<F> | undefined;
}

/** One record for the whole chain, as the policy sees it. */
export type Shared<F> = StateRecord<F>;

export interface StateType<View = unknown> {
  readonly kind: "flows" | "shared";
  readonly fields: Readonly<Record<string, IntegerName>>;
  /** Fields that start with what the kernel knows, for connections that run when the chain is submitted. */
  readonly seeds: Readonly<Record<string, KernelFact>>;
  readonly maxEntries: number;
  readonly __view?: View;
}

function names(fields: Fields): Record<string, IntegerName> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, type]) => {
      if (type.representation.kind !== "integer") throw new TypeError(`State field ${name} is not an integer type`);
      return [name, type.representation.type];
    }),
  );
}

function seeds(fields: Fields): Record<string, KernelFact> {
  return Object.fromEntries(Object.entries(fields).flatMap(([name, { seed }]) => (seed ? [[name, seed]] : [])));
}

/** A field of a flow's record that starts with what the kernel knows when the connection is older than the chain. */
export function known(type: ParameterType<number, number | bigint>, fact: KernelFact): Fields[string] {
  return { ...type, seed: fact };
}

/** A record per flow, the least recently used dropped when `max` flows are known. */
export function flows<const F extends Fields>(fields: F, max = 65_536): StateType<FlowMap<F>> {
  return { kind: "flows", fields: names(fields), seeds: seeds(fields), maxEntries: max };
}

/** One record that all packets of the chain share. */
export function shared<const F extends Fields>(fields: F): StateType<Shared<F>> {
  return { kind: "shared", fields: names(fields), seeds: {}, maxEntries: 1 };
}

export type StateViews<S> = { readonly [K in keyof S]: S[K] extends StateType<infer V> ? V : never };
