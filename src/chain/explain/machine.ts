/** A compiled chain in the VM: the bytes that run in the kernel, with maps of their own. */
import {
  createMap,
  RingBufferMap,
  Vm,
  type PacketResult,
  type ProgramArrayMap,
  type VmMap,
} from "../../bpf/vm/index.ts";
import {
  countersMap,
  eventsMap,
  hooks,
  isPacketHook,
  parametersMap,
  type Hook,
  type PacketHook,
} from "../../compiler/index.ts";
import { decodeEvent, type ChainEvent } from "../events.ts";
import type { ChainPlan } from "../policy-chain.ts";
import type { Direction } from "./direction.ts";
import { TouchedMap } from "./touched-map.ts";

const onlyKey = new Uint8Array(4);

/** The number of the interface that packets are on here; no interface of a chain's parameters has it. */
export const ownInterface = 0x7fff_ffff;

/** Fields of the socket buffer that a chain may set, by what a person calls them. */
const contextFields = ["mark", "priority"] as const;

/** The contents of a map. */
export type Contents = readonly (readonly [key: Uint8Array, value: Uint8Array])[];

export interface Passage {
  readonly hook: PacketHook;
  readonly result: PacketResult;
  /** The value of the counters map: what this one packet was counted for. */
  readonly counted: Uint8Array;
  readonly context: Readonly<Partial<Record<(typeof contextFields)[number], bigint>>>;
  readonly events: readonly ChainEvent[];
}

export class ChainMachine {
  readonly plan: ChainPlan;
  readonly maps: ReadonlyMap<string, VmMap>;
  /** Programs where they are attached; those that a linked chain goes on with are in its program arrays. */
  readonly #attached: ReadonlyMap<Direction, { readonly hook: PacketHook; readonly vm: Vm }>;
  #nowNs = 0n;

  /** `contents` are what maps start with instead of being empty, by their key. */
  constructor(plan: ChainPlan, contents: ReadonlyMap<string, Contents> = new Map()) {
    const { compiled, parameters } = plan;
    this.plan = plan;
    const records = new Set(
      compiled.layout.state.filter(({ kind }) => kind === "flows" || kind === "table").map(({ map }) => map),
    );
    this.maps = new Map(
      Object.entries(compiled.maps).map(([key, spec]) => [
        key,
        records.has(key) ? new TouchedMap(spec) : createMap(spec),
      ]),
    );
    if (parameters) this.maps.get(parametersMap)!.update(onlyKey, parameters);
    for (const [name, entries] of contents) for (const [key, value] of entries) this.maps.get(name)?.update(key, value);
    const options = { maps: this.maps, now: () => this.#nowNs };
    const onPackets = Object.entries(compiled.programs).filter(([key]) => isPacketHook(key.split(":")[0] as Hook));
    const vms = new Map(onPackets.map(([key, spec]) => [key, new Vm(spec, options)]));
    for (const [name, keys] of Object.entries(compiled.programArrays)) {
      const array = this.maps.get(name) as ProgramArrayMap;
      keys.forEach((key, index) => array.setProgram(index, key === undefined ? undefined : vms.get(key)));
    }
    this.#attached = new Map(
      [...vms].flatMap(([key, vm]) => {
        const hook = key as PacketHook;
        return isPacketHook(hook) ? [[hooks[hook].direction, { hook, vm }] as const] : [];
      }),
    );
  }

  /** The directions in which the chain sees packets. */
  get directions(): Direction[] {
    return [...this.#attached.keys()];
  }

  hookFor(direction: Direction): PacketHook | undefined {
    return this.#attached.get(direction)?.hook;
  }

  /** Runs one packet through; undefined where the chain has no program for its direction. Time never goes back. */
  run(frame: Uint8Array, direction: Direction, timeNs: bigint): Passage | undefined {
    const found = this.#attached.get(direction);
    if (!found) return undefined;
    const { hook, vm } = found;
    if (timeNs > this.#nowNs) this.#nowNs = timeNs;
    const counters = this.maps.get(countersMap)!;
    counters.update(onlyKey, new Uint8Array(counters.spec.valueSize));
    const result = vm.runPacket(frame, hook === "xdp" ? { ingressIfindex: ownInterface } : { ifindex: ownInterface });
    const context = Object.fromEntries(
      contextFields.flatMap((field) => (result.context[field] ? [[field, result.context[field]]] : [])),
    );
    return { hook, result, counted: counters.lookup(onlyKey)!, context, events: this.#events() };
  }

  #events(): ChainEvent[] {
    const map = this.maps.get(eventsMap);
    return map instanceof RingBufferMap
      ? map.drain().map((record) => decodeEvent(record, this.plan.compiled.layout))
      : [];
  }
}
