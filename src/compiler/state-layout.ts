/** Where the state of a chain's policies lies: which memory each descriptor stands for, and what is where in its records. */
import { integerSizes, type IntegerName } from "../policy/types.ts";
import type { Policy } from "../policy/policy.ts";
import type { FieldLayout, StateKind, StateType } from "../policy/state.ts";
import type { MapSpec } from "../bpf/spec.ts";

/** Bytes of a flow's key: local and remote address (16 each, IPv4 mapped), local and remote port (host order), 4 zero bytes. */
export const flowKeySize = 40;

/** In records of claimable state: a `bpf_spin_lock`, and the 32-bit flag that it protects. Fields follow. */
export const claimLock = { lock: 0, flag: 4, size: 8 } as const;

export interface StateField {
  readonly name: string;
  readonly type: FieldLayout;
  readonly offset: number;
}

/** A policy of the chain that uses a state, and the name it has there. Selectors and actors are numbered from 0 each. */
export interface StateOwner {
  readonly kind: Policy["kind"];
  readonly index: number;
  readonly name: string;
}

export interface StateSlot {
  /** In the order of the chain, selectors first; at least one. */
  readonly owners: readonly StateOwner[];
  /** What the first owner calls it. */
  readonly name: string;
  /** The key in a program's maps. State that lasts for one packet is in no map of its own. */
  readonly map: string;
  readonly kind: StateKind;
  readonly maxEntries: number;
  /** Of a table; the key is the integer's bytes, little-endian. */
  readonly key?: IntegerName;
  /** Bytes of one record. */
  readonly size: number;
  readonly fields: readonly StateField[];
  /** Fields that start with what the kernel knows of a running connection. */
  readonly seeds: StateType["seeds"];
  /** Whether records begin with `claimLock`. */
  readonly claimable?: true;
  /** The name under which all chains of the host share it. */
  readonly host?: string;
}

export const isOwner = ({ owners }: Pick<StateSlot, "owners">, kind: Policy["kind"], index: number): boolean =>
  owners.some((owner) => owner.kind === kind && owner.index === index);

/** Whether user space can list its records: what lasts for a packet is in no map, what goes with sockets is found by them. */
export const isListed = ({ kind }: Pick<StateSlot, "kind">): boolean => kind !== "perPacket" && kind !== "perSocket";

export const fieldSize = (type: FieldLayout): number => (typeof type === "object" ? type.bytes : integerSizes[type]);

interface Declaration {
  readonly owner: StateOwner;
  readonly policy: Policy;
  readonly type: StateType;
}

function declared(kind: Policy["kind"], policies: readonly Policy[]): Declaration[] {
  return policies.flatMap((policy, index) =>
    Object.entries(policy.state).map(([name, type]) => ({ owner: { kind, index, name }, policy, type })),
  );
}

/**
 * The state of a chain.
 * @throws TypeError when two descriptors share one name on the host and are not alike
 */
export function layOutState(selectors: readonly Policy[], actors: readonly Policy[]): StateSlot[] {
  const declarations = [...declared("selector", selectors), ...declared("actor", actors)];
  const chainWide = new Set<StateType>();
  const firstPolicy = new Map<StateType, Policy>();
  for (const { policy, type } of declarations) {
    const first = firstPolicy.get(type) ?? policy;
    firstPolicy.set(type, first);
    if (first !== policy || policy.kind === "selector" || policy.observes) chainWide.add(type);
  }
  const slots = new Map<unknown, StateSlot>();
  for (const declaration of declarations) {
    const { type, owner } = declaration;
    const identity = type.host ?? (chainWide.has(type) ? type : declaration);
    const known = slots.get(identity);
    slots.set(identity, known ? { ...known, owners: [...known.owners, owner] } : stateSlot(owner, type));
    if (known?.host !== undefined && describeShape(known) !== describeShape(stateSlot(owner, type)))
      throw new TypeError(
        `Cannot share state "${known.host}" on the host: this chain declares it twice, and not alike ` +
          `(${describeShape(known)}; ${describeShape(stateSlot(owner, type))}). Declare it once, and import it`,
      );
  }
  return [...slots.values()];
}

function stateSlot(owner: StateOwner, type: StateType): StateSlot {
  let size: number = type.claimable ? claimLock.size : 0;
  const fields = Object.entries(type.fields).map(([name, layout]): StateField => {
    const bytes = fieldSize(layout);
    // Raw bytes may be read and written in words of 8.
    const alignment = typeof layout === "object" ? 8 : bytes;
    const offset = Math.ceil(size / alignment) * alignment;
    size = offset + Math.ceil(bytes / alignment) * alignment;
    return { name, type: layout, offset };
  });
  const place = `${owner.kind === "actor" ? "state" : "learnt"}${owner.index}_${owner.name}`;
  return {
    owners: [owner],
    name: owner.name,
    map: type.host === undefined ? place : `host_${type.host}`,
    kind: type.kind,
    maxEntries: type.maxEntries,
    ...(type.key && { key: type.key }),
    size: Math.max(8, Math.ceil(size / 8) * 8),
    fields,
    seeds: type.seeds,
    ...(type.claimable && { claimable: true }),
    ...(type.host !== undefined && { host: type.host }),
  };
}

/** What two chains must agree on to share a state: `table of u32, at most 65536: token u32 @0, stamp u64 @8`. */
export function describeShape(slot: Omit<StateSlot, "owners">): string {
  const kind = `${slot.claimable ? "claimable " : ""}${slot.kind}${slot.key ? ` of ${slot.key}` : ""}`;
  const most = counted.has(slot.kind) ? `, at most ${slot.maxEntries}` : "";
  const fields = slot.fields.map(
    ({ name, type, offset }) => `${name} ${typeof type === "object" ? `bytes(${type.bytes})` : type} @${offset}`,
  );
  return `${kind}${most}: ${fields.join(", ")}`;
}

const counted: ReadonlySet<StateKind> = new Set(["flows", "table", "slots"]);

/** BPF_F_NO_PREALLOC and BPF_F_MMAPABLE (include/uapi/linux/bpf.h). */
const notPreallocated = 1;
const mappable = 1 << 10;

/** The map of a state; undefined for what lasts for one packet. */
export function stateMap(slot: StateSlot): MapSpec | undefined {
  const name = `em_${slot.name}`.slice(0, 15);
  const lock = slot.claimable && { spinLockAt: claimLock.lock };
  switch (slot.kind) {
    case "perPacket":
      return undefined;
    case "shared":
    case "perCpu": {
      const type = slot.kind === "perCpu" ? "perCpuArray" : "array";
      return { name, type, keySize: 4, maxEntries: 1, valueSize: slot.size, ...lock };
    }
    case "perSocket":
      return {
        name,
        type: "skStorage",
        keySize: 4,
        valueSize: slot.size,
        maxEntries: 0,
        flags: notPreallocated,
        ...lock,
      };
    case "slots":
      return {
        name,
        type: "array",
        keySize: 4,
        valueSize: slot.size,
        maxEntries: slot.maxEntries,
        flags: mappable,
      };
    case "flows":
    case "table": {
      // The kernel has no locks in maps that drop entries.
      const type = slot.claimable ? "hash" : "lruHash";
      const keySize = slot.key ? integerSizes[slot.key] : flowKeySize;
      return { name, type, keySize, valueSize: slot.size, maxEntries: slot.maxEntries, ...lock };
    }
  }
}
